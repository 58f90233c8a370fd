//! The dispatch log: what was sent and is not yet journalled, one slot per attempt in flight.
//!
//! A slot is written to the page cache right before the first byte of an attempt leaves, and free again
//! once the journal holds the attempt: then its record may stay until the next one overwrites it or
//! `tidy` wipes it, because the journal takes an attempt once. The page cache survives the end of the process however it ends,
//! so nothing here waits for a disk. It does not survive the machine: after another boot the log may be
//! incomplete, and whoever recovers is told so.
//!
//! A record that is torn was never dispatched, because its write had not returned.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use outcrop_policy::ledger::Settled;
use parking_lot::Mutex;

use crate::{StoreError, machine};

mod file;

use file::{Header, RECORD_HEAD_BYTES, Room};

/// Most slots of a log.
pub const SLOTS_MAX: usize = 1 << 20;

/// The log. One per process.
#[derive(Debug)]
pub struct DispatchLog {
    // `None`: in memory only.
    file: Option<File>,
    replica: Arc<str>,
    header: Header,
    // Held for a few moves in memory, never while something is written.
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    // Both are stacks: what was written last is written next, while it is near.
    free: Vec<u32>,
    // Free as well, and if something stands there the journal has it.
    stale: Vec<u32>,
    places: Vec<Place>,
    // Attempts that are written, until the journal has them.
    written: HashMap<Arc<str>, Slot, foldhash::fast::RandomState>,
    // Buffers to write from, at most one per writer that ever ran at once.
    buffers: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    // Changes whenever it is taken or given back, so that an old hold on it is known for what it is.
    taken: u32,
    is_held: bool,
    // Whether something may stand in its long place.
    is_long: bool,
    attempt: Option<Arc<str>>,
}

/// A place in the log. It is not given back by itself: `clear` does that for an attempt that was never
/// sent, and the keeper for one whose settlement is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Slot {
    index: u32,
    taken: u32,
}

/// What a log held when it was opened.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Attempts that were sent, with their upper bounds, and may not be journalled.
    pub settled: Vec<Settled>,
    /// Whether it is certain that nothing else was sent.
    pub complete: bool,
    /// Id of the replica whose log it is; it was made with the file.
    pub replica: Arc<str>,
    /// Names this opening.
    pub beginning: String,
}

/// Why an attempt could not be noted: it must not be sent.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The record is larger than a slot.
    #[error("the record of the attempt has {0} bytes, more than a slot holds")]
    TooLong(usize),
    /// The slot was given back already.
    #[error("the slot is not held any more")]
    NotHeld,
    /// The file cannot be written.
    #[error("the dispatch log cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl DispatchLog {
    /// Opens the log at a path, or makes it, with room for `slots` attempts. Nobody else can open it
    /// meanwhile. What it held keeps its slots until `begun`.
    pub fn open(path: &Path, slots: usize) -> Result<(Self, Recovered), StoreError> {
        let unusable = |e: io::Error| StoreError::Refused(format!("{}: {e}", path.display()));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(unusable)?;
        lock(&file, path)?;
        let boot = machine::boot();
        let found = file::read(&file, slots).map_err(unusable)?;
        let complete = found.is_whole && found.header.boot == boot && !boot.is_empty();
        let header = Header { boot, ..found.header };
        let held: BTreeSet<u32> = found.settled.iter().map(|(index, _)| *index).collect();
        let log = Self::new(Some(file), header, slots, &held);
        let settled = found.settled.into_iter().map(|(_, settled)| settled).collect();
        let recovered = Recovered {
            settled,
            complete,
            replica: Arc::clone(&log.replica),
            beginning: uuid::Uuid::now_v7().to_string(),
        };
        Ok((log, recovered))
    }

    /// A log for a store that forgets everything with the process.
    pub fn in_memory(slots: usize) -> (Self, Recovered) {
        let header = Header { replica: uuid::Uuid::now_v7().to_string(), boot: String::new() };
        let log = Self::new(None, header, slots, &BTreeSet::new());
        let (replica, beginning) = (Arc::clone(&log.replica), uuid::Uuid::now_v7().to_string());
        (log, Recovered { settled: Vec::new(), complete: true, replica, beginning })
    }

    fn new(file: Option<File>, header: Header, slots: usize, held: &BTreeSet<u32>) -> Self {
        let count = u32::try_from(slots.clamp(1, SLOTS_MAX)).unwrap_or(u32::MAX);
        let slots = Slots {
            free: (0..count).rev().filter(|index| !held.contains(index)).collect(),
            stale: Vec::new(),
            places: vec![Place::default(); count as usize],
            written: HashMap::default(),
            buffers: Vec::new(),
        };
        let replica = Arc::from(&*header.replica);
        Self { file, replica, header, slots: Mutex::new(slots) }
    }

    /// Id of the replica whose log it is.
    pub fn replica(&self) -> &Arc<str> {
        &self.replica
    }

    /// What was recovered is durable elsewhere: the log begins anew, in this boot. Only then may it say
    /// that it is complete.
    pub fn begun(&self) -> io::Result<()> {
        let mut slots = self.slots.lock();
        let count = u32::try_from(slots.places.len()).unwrap_or(u32::MAX);
        if let Some(file) = &self.file {
            file::begin(file, &self.header, count)?;
        }
        slots.free = (0..count).rev().collect();
        slots.stale.clear();
        slots.places.fill(Place::default());
        slots.written.clear();
        Ok(())
    }

    /// A free slot; `None` when as many attempts are in flight as there are slots.
    pub fn take(&self) -> Option<Slot> {
        let mut slots = self.slots.lock();
        let index = slots.vacant()?;
        let place = slots.places.get_mut(index as usize)?;
        place.taken = place.taken.wrapping_add(1);
        place.is_held = true;
        Some(Slot { index, taken: place.taken })
    }

    /// Notes that an attempt is about to be sent, as it stands if nothing more is heard of it. When this
    /// returns `Ok` its first byte may leave.
    pub fn write(&self, slot: &Slot, settled: &Settled) -> Result<(), DispatchError> {
        let mut buffer = {
            let mut slots = self.slots.lock();
            if !slots.holds(*slot) {
                return Err(DispatchError::NotHeld);
            }
            slots.buffers.pop().unwrap_or_default()
        };
        let encoded = if self.file.is_some() { encode(&mut buffer, settled) } else { Ok(Room::Short) };
        let written = match (&encoded, &self.file) {
            (Ok(room), Some(file)) => file.write_all_at(&buffer, room.offset(slot.index)),
            _ => Ok(()),
        };
        let mut slots = self.slots.lock();
        slots.buffers.push(buffer);
        // Also when the write failed: some of it may be there.
        slots.note(*slot, &settled.attempt, encoded?);
        Ok(written?)
    }

    /// Gives a slot back whose attempt was provably never sent. One that is not held any more stays as
    /// it is.
    pub fn clear(&self, slot: Slot) {
        let Some(was_written) = self.slots.lock().withdraw(slot) else { return };
        if !was_written {
            self.slots.lock().stale.push(slot.index);
        } else if self.wipe(slot.index) {
            self.slots.lock().free.push(slot.index);
        }
        // What cannot be wiped is never used again: it would count after a crash.
    }

    /// Gives the slots of attempts back that the journal holds.
    pub fn durable(&self, attempts: &[Arc<str>]) {
        for attempt in attempts {
            // Not over all of them: whoever wants a slot waits for one at most.
            let mut slots = self.slots.lock();
            let slot = slots.written.get(attempt).copied();
            if let Some(slot) = slot.filter(|slot| slots.withdraw(*slot).is_some()) {
                slots.stale.push(slot.index);
            }
        }
    }

    /// Wipes records of attempts that the journal holds, at most so many: it forgets them one day, and
    /// then they must not count again. `false` when more are left.
    pub fn tidy(&self, most: usize) -> bool {
        for _ in 0..most {
            let Some(index) = self.slots.lock().stale.pop() else { return true };
            let is_wiped = self.wipe(index);
            let mut slots = self.slots.lock();
            if !is_wiped {
                slots.stale.push(index);
                return false;
            }
            slots.free.push(index);
        }
        self.slots.lock().stale.is_empty()
    }

    /// Attempts that are noted and not yet durable elsewhere.
    pub fn in_flight(&self) -> usize {
        self.slots.lock().written.len()
    }

    fn wipe(&self, index: u32) -> bool {
        let Some(file) = &self.file else { return true };
        let empty = |room: Room| file.write_all_at(&[0; RECORD_HEAD_BYTES], room.offset(index)).is_ok();
        let is_long = self.slots.lock().places.get(index as usize).is_some_and(|place| place.is_long);
        let is_wiped = empty(Room::Short) && (!is_long || empty(Room::Long));
        if let Some(place) = self.slots.lock().places.get_mut(index as usize).filter(|_| is_wiped) {
            place.is_long = false;
        }
        is_wiped
    }
}

impl Slots {
    fn vacant(&mut self) -> Option<u32> {
        self.stale.pop().or_else(|| self.free.pop())
    }

    fn holds(&self, slot: Slot) -> bool {
        self.places.get(slot.index as usize).is_some_and(|place| place.is_held && place.taken == slot.taken)
    }

    fn note(&mut self, slot: Slot, attempt: &Arc<str>, room: Room) {
        let Some(place) = self.places.get_mut(slot.index as usize) else { return };
        place.is_long |= room == Room::Long;
        if let Some(before) = place.attempt.replace(Arc::clone(attempt)) {
            self.written.remove(&before);
        }
        self.written.insert(Arc::clone(attempt), slot);
    }

    /// Ends the hold on a slot, so that it can be wiped; whether it was written. `None` when it is not
    /// held any more.
    fn withdraw(&mut self, slot: Slot) -> Option<bool> {
        if !self.holds(slot) {
            return None;
        }
        let place = self.places.get_mut(slot.index as usize)?;
        place.is_held = false;
        let attempt = place.attempt.take();
        if let Some(attempt) = &attempt {
            self.written.remove(attempt);
        }
        Some(attempt.is_some())
    }
}

/// A record: its length, its checksum, itself. Gives back which place holds it.
fn encode(buffer: &mut Vec<u8>, settled: &Settled) -> Result<Room, DispatchError> {
    buffer.clear();
    buffer.write_all(&[0; RECORD_HEAD_BYTES])?;
    let mut written = postcard::to_extend(settled, std::mem::take(buffer)).map_err(io::Error::other)?;
    std::mem::swap(buffer, &mut written);
    let room = Room::of(buffer.len()).ok_or(DispatchError::TooLong(buffer.len()))?;
    let (head, body) = buffer.split_at_mut(RECORD_HEAD_BYTES);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let (length_at, sum_at) = head.split_at_mut(4);
    length_at.copy_from_slice(&length.to_le_bytes());
    sum_at.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    Ok(room)
}

fn lock(file: &File, path: &Path) -> Result<(), StoreError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Refused(format!(
            "the dispatch log {} is used by another process; each replica needs one of its own",
            path.display()
        )),
        TryLockError::Error(error) => {
            StoreError::Refused(format!("the dispatch log {} cannot be locked: {error}", path.display()))
        }
    })
}

#[cfg(test)]
mod tests;
