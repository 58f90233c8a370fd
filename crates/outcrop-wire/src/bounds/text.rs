//! The longest form in which a model may see a text.
//!
//! A provider may normalise a text before it counts (NFKC, which turns `ﷺ` into eighteen letters), and
//! it may write values into a prompt as JSON, with everything beyond ASCII escaped.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Bytes of a text: the longer of itself and its NFKC form.
///
/// The text is measured run by run: ASCII does not change, and no mark is moved across an ASCII
/// letter. A mark that would join the letter before it makes the whole no longer than the parts,
/// because a composed character is never longer than what it is composed of.
pub(super) fn widest(text: &str) -> u64 {
    if text.is_ascii() {
        return text.len() as u64;
    }
    let mut bytes = 0_usize;
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let (ascii, tail) = rest.split_at(plain);
        let other = tail.bytes().position(|byte| byte.is_ascii()).unwrap_or(tail.len());
        let (run, tail) = tail.split_at(other);
        bytes = bytes.saturating_add(ascii.len()).saturating_add(normalised(run));
        rest = tail;
    }
    bytes as u64
}

/// Characters that NFKC makes no longer, alone and beside each other: most of what people write, so
/// that the tables of the normal form are seldom asked. A test holds it against those tables.
fn keeps_its_length(c: char) -> bool {
    matches!(
        u32::from(c),
        0xa0..=0xa7 | 0xbf..=0x13e | 0x14a..=0x1c3       // Latin
            | 0x386..=0x482 | 0x488..=0x586                // Greek, Cyrillic, Armenian
            | 0x5ca..=0x60f | 0x61b..=0x64a                // Hebrew, Arabic
            | 0x900..=0x93b                                // Devanagari
            | 0x1e00..=0x1fbc                              // Vietnamese and others
            | 0x2000..=0x2016 | 0x2018..=0x2032            // punctuation
            | 0x218a..=0x222b | 0x2488..=0x2a0b            // arrows, boxes, symbols
            | 0x2e00..=0x3029 | 0x3030..=0x3098 | 0x30a0..=0x30fe // Japanese
            | 0x33ff..=0xa66e | 0xabee..=0xfa6b            // Chinese, Korean
            | 0xfdfd..=0xfe1f | 0xff01..=0xff9d            // variants, full width
            | 0x1f300..=0x1faff                            // emoji
    )
}

fn normalised(run: &str) -> usize {
    if run.chars().all(keeps_its_length) {
        return run.len();
    }
    match is_nfkc_quick(run.chars()) {
        IsNormalized::Yes => run.len(),
        IsNormalized::No | IsNormalized::Maybe => {
            let length = run.nfkc().map(char::len_utf8).fold(0, usize::saturating_add);
            length.max(run.len())
        }
    }
}

/// Bytes of a text that may be written as a JSON string with all but ASCII escaped, with its quotes.
pub(super) fn widest_in_json(text: &str) -> u64 {
    const QUOTES: u64 = 2;
    if text.is_ascii() {
        let short = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t')).count();
        let control = text.bytes().filter(|byte| matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127)).count();
        let escapes = short.saturating_add(control.saturating_mul(5));
        return QUOTES.saturating_add(text.len().saturating_add(escapes) as u64);
    }
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        ' '..='~' => 1,
        _ if c.len_utf16() == 2 => 12,
        _ => 6,
    });
    escaped.fold(QUOTES, u64::saturating_add).max(widest(text).saturating_add(QUOTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_definition(text: &str) -> u64 {
        text.len().max(text.nfkc().map(char::len_utf8).sum()) as u64
    }

    #[test]
    fn growth_is_counted() {
        for (text, bytes) in [
            ("", 0),
            ("abc", 3),
            ("é", 2),
            ("日本語", 9),
            ("…", 3),
            ("\u{fdfa}", 33),
            ("a\u{fdfa}b", 35),
            ("½", 5),
        ] {
            assert_eq!(widest(text), bytes, "{text}");
        }
        assert_eq!(widest_in_json("a\"\n\u{1}é😀"), 2 + 1 + 2 + 2 + 6 + 6 + 12);
        assert_eq!(widest_in_json("\u{fdfa}"), 35);
        assert_eq!(widest_in_json("a\"\n\u{1}\u{7f}"), 2 + 1 + 2 + 2 + 6 + 6);
    }

    /// In NFKC each of them is no longer, and made of starters that join nothing before them.
    #[test]
    fn the_quick_list_agrees_with_the_tables() {
        use unicode_normalization::char::canonical_combining_class as class;
        for c in ('\0'..=char::MAX).filter(|c| keeps_its_length(*c)) {
            let normal: String = c.nfkc().collect();
            assert!(normal.len() <= c.len_utf8(), "{c:?}");
            assert!(class(c) == 0 && normal.chars().all(|c| class(c) == 0), "{c:?}");
            assert_eq!(is_nfkc_quick(normal.chars()), IsNormalized::Yes, "{c:?}");
        }
    }

    /// What the measuring by runs rests on.
    #[test]
    fn a_composed_character_is_never_longer_than_its_parts() {
        for c in ('\0'..=char::MAX).filter(|c| c.nfd().count() > 1 && c.nfc().eq([*c])) {
            let parts: Vec<char> = c.nfd().collect();
            let mut joined = parts[0];
            for part in &parts[1..] {
                let Some(next) = unicode_normalization::char::compose(joined, *part) else { break };
                assert!(next.len_utf8() <= joined.len_utf8() + part.len_utf8(), "{joined:?} {part:?}");
                joined = next;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn never_below_the_definition(text in "(\\PC|[a-e]|[\u{300}-\u{33f}]|[\u{1100}-\u{11ff}\u{ac00}-\u{ac40}]|[\u{fb00}-\u{fdff}]){0,24}") {
            prop_assert!(widest(&text) >= by_definition(&text));
            prop_assert!(widest_in_json(&text) >= serde_json::to_string(&text).unwrap().len() as u64);
        }
    }
}
