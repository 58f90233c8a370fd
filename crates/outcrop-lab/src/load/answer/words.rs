//! The lab's numbered words, checked as they come: `Simulated answer from fra: tok-1 tok-2 …`.

/// Longest word that can still be a number.
const WORD_BYTES_MAX: usize = 32;

/// Words before the first number; the last of them is the target's name.
const PREFACE: [&str; 4] = ["Simulated", "answer", "from", ""];

/// How many words came in order.
#[derive(Debug, Default)]
pub(super) struct Words {
    preface: usize,
    held: u64,
    /// A word whose end has not come.
    open: String,
    broken: bool,
}

impl Words {
    pub(super) fn push(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_whitespace() {
                self.close();
            } else if self.open.len() < WORD_BYTES_MAX {
                self.open.push(character);
            } else {
                self.broken = true;
            }
        }
    }

    /// Whether exactly these many words came, each in its place.
    pub(super) fn are(&mut self, due: u64) -> bool {
        self.close();
        !self.broken && self.held == due
    }

    /// Words that came in order from the first.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    fn close(&mut self) {
        if self.open.is_empty() || self.broken {
            return;
        }
        if let Some(due) = PREFACE.get(self.preface) {
            self.broken = !self.open.starts_with(due);
            self.preface += 1;
        } else {
            let number = self.open.strip_prefix("tok-").and_then(|number| number.parse::<u64>().ok());
            if number == Some(self.held + 1) {
                self.held += 1;
            } else {
                self.broken = true;
            }
        }
        self.open.clear();
    }
}
