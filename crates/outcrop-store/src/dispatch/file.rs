//! The bytes of the dispatch log: a header, then slots of a fixed size.
//!
//! Most records are short, and what is written often should lie close together: so each slot has a short
//! place, and a long one for the record that does not fit there. Slots come in groups, first the short
//! places of a group, then its long ones, so that where a slot lies does not depend on how many there
//! are. What is never written takes no room.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use outcrop_policy::ledger::Settled;

use super::SLOTS_MAX;

/// Room for the header.
pub(super) const HEADER_BYTES: u64 = 4096;
/// In front of a record: its length and its checksum, four bytes each, little endian. A length of zero
/// is an empty slot.
pub(super) const RECORD_HEAD_BYTES: usize = 8;

/// The places of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Short,
    Long,
}

/// Bytes of a short place.
const SHORT_BYTES: usize = 1024;
/// Bytes of a long place, and so of the largest record.
pub(super) const LONG_BYTES: usize = 16 * 1024;
/// Slots of a group: their short places are four pages.
const GROUP: u64 = 16;
const GROUP_BYTES: u64 = GROUP * (SHORT_BYTES + LONG_BYTES) as u64;

impl Room {
    /// The smallest that holds a record of so many bytes.
    pub(super) fn of(bytes: usize) -> Option<Self> {
        [Self::Short, Self::Long].into_iter().find(|room| bytes <= room.bytes())
    }

    fn bytes(self) -> usize {
        match self {
            Self::Short => SHORT_BYTES,
            Self::Long => LONG_BYTES,
        }
    }

    /// Where the place of a slot begins.
    pub(super) fn offset(self, index: u32) -> u64 {
        let (group, nth) = (u64::from(index) / GROUP, u64::from(index) % GROUP);
        let before = match self {
            Self::Short => 0,
            Self::Long => GROUP * SHORT_BYTES as u64,
        };
        HEADER_BYTES + group * GROUP_BYTES + before + nth * self.bytes() as u64
    }
}

const FORMAT: &str = "outcrop dispatch log 3";

/// What stands in front.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) replica: String,
    /// The boot in which the log was complete.
    pub(super) boot: String,
}

/// A log as it was found.
pub(super) struct Found {
    pub(super) header: Header,
    /// Whether the header could be read, or there was nothing at all.
    pub(super) is_whole: bool,
    pub(super) settled: Vec<(u32, Settled)>,
}

/// Reads a log. One without a readable header gets a new replica.
pub(super) fn read(file: &File, slots: usize) -> io::Result<Found> {
    let length = file.metadata()?.len();
    let fresh = || Header { replica: uuid::Uuid::now_v7().to_string(), boot: String::new() };
    let header = if length == 0 { None } else { read_header(file)? };
    // A log that has shrunk is still read to its end.
    let found = length.saturating_sub(HEADER_BYTES).div_ceil(GROUP_BYTES) * GROUP;
    let count = u32::try_from(found.max(slots as u64).min(SLOTS_MAX as u64)).unwrap_or(u32::MAX);
    let (mut settled, mut all_known) = (Vec::new(), true);
    for index in 0..count {
        for room in [Room::Short, Room::Long] {
            match read_record(file, index, room)? {
                Record::None => {}
                Record::Of(record) => settled.push((index, *record)),
                Record::Foreign => all_known = false,
            }
        }
    }
    Ok(match header {
        Some(header) => Found { header, is_whole: all_known, settled },
        None => Found { header: fresh(), is_whole: length == 0, settled },
    })
}

/// Begins a log anew: no record is left, and its header says whose it is and in which boot. Nothing of
/// the former one may be taken for part of it, so the header comes last.
pub(super) fn begin(file: &File, header: &Header, slots: u32) -> io::Result<()> {
    file.set_len(HEADER_BYTES)?;
    file.set_len(HEADER_BYTES + u64::from(slots).div_ceil(GROUP) * GROUP_BYTES)?;
    let text = format!("{FORMAT}\n{}\n{}\n", header.replica, header.boot);
    let sum = crc32fast::hash(text.as_bytes());
    let mut block = format!("{text}{sum:08x}\n").into_bytes();
    block.resize(usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX), 0);
    file.write_all_at(&block, 0)?;
    // The only one, before the first request: else a crash of the machine could leave holes where the
    // header says that there are none.
    file.sync_all()
}

fn read_header(file: &File) -> io::Result<Option<Header>> {
    let mut block = vec![0; usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut block, 0)?;
    block.truncate(read);
    let end = block.iter().position(|byte| *byte == 0).unwrap_or(block.len());
    block.truncate(end);
    let text = String::from_utf8(block).unwrap_or_default();
    let mut lines = text.lines();
    let (Some(format), Some(replica), Some(boot), Some(sum)) =
        (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Ok(None);
    };
    let said = format!("{format}\n{replica}\n{boot}\n");
    let is_right = format == FORMAT && sum == format!("{:08x}", crc32fast::hash(said.as_bytes()));
    Ok(is_right.then(|| Header { replica: replica.to_owned(), boot: boot.to_owned() }))
}

/// What a slot holds.
enum Record {
    /// Nothing, or what was being written when the process ended: it was never sent.
    None,
    /// An attempt.
    Of(Box<Settled>),
    /// A whole record that is none of this version: what was sent is not known.
    Foreign,
}

fn read_record(file: &File, index: u32, room: Room) -> io::Result<Record> {
    let at = room.offset(index);
    let mut head = [0; RECORD_HEAD_BYTES];
    if file.read_at(&mut head, at)? < RECORD_HEAD_BYTES {
        return Ok(Record::None);
    }
    let [l0, l1, l2, l3, s0, s1, s2, s3] = head;
    let (length, sum) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([s0, s1, s2, s3]));
    let length = length as usize;
    if length == 0 || length > room.bytes() - RECORD_HEAD_BYTES {
        return Ok(Record::None);
    }
    let mut body = vec![0; length];
    let read = file.read_at(&mut body, at + RECORD_HEAD_BYTES as u64)?;
    if read < length || crc32fast::hash(&body) != sum {
        return Ok(Record::None);
    }
    Ok(postcard::from_bytes(&body).map_or(Record::Foreign, |record| Record::Of(Box::new(record))))
}
