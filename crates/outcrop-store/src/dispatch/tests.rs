use std::fs;

use outcrop_policy::ledger::{Entry, EntryState};

use super::*;

fn settled(attempt: &str) -> Settled {
    let entry = Entry { request_id: "r".repeat(100).into(), bound_nusd: 7, ..Entry::default() };
    Settled { attempt: attempt.into(), state: EntryState::Suspense, entry, lines: smallvec::smallvec![] }
}

fn attempts(recovered: &Recovered) -> Vec<&str> {
    recovered.settled.iter().map(|settled| &*settled.attempt).collect()
}

/// A log that has begun, and where it is.
fn begun(slots: usize) -> (tempfile::TempDir, std::path::PathBuf, DispatchLog) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (log, recovered) = DispatchLog::open(&path, slots).unwrap();
    assert_eq!(attempts(&recovered), Vec::<&str>::new());
    log.begun().unwrap();
    (folder, path, log)
}

#[test]
fn what_was_sent_and_is_not_durable_is_found_again() {
    let (_folder, path, log) = begun(4);
    let replica = Arc::clone(log.replica());
    let slots: Vec<Slot> = (0..4).map(|_| log.take().unwrap()).collect();
    assert!(log.take().is_none(), "there are four");
    for (slot, attempt) in slots.iter().zip(["sent", "void", "durable", "also sent"]) {
        log.write(slot, &settled(attempt)).unwrap();
    }
    log.clear(slots[1]);
    log.durable(&["durable".into(), "unknown".into()]);
    assert_eq!(log.in_flight(), 2);
    assert!(log.tidy(usize::MAX));
    drop(log);
    let (log, recovered) = DispatchLog::open(&path, 4).unwrap();
    assert_eq!((attempts(&recovered), recovered.complete), (vec!["sent", "also sent"], true));
    assert_eq!(recovered.replica, replica);
    // Until they are durable elsewhere their slots are not given away, whatever happens.
    assert_eq!(log.take().map(|slot| slot.index), Some(1));
    drop(log);
    let (log, recovered) = DispatchLog::open(&path, 4).unwrap();
    assert_eq!(attempts(&recovered).len(), 2);
    log.begun().unwrap();
    drop(log);
    assert_eq!(attempts(&DispatchLog::open(&path, 4).unwrap().1), Vec::<&str>::new());
}

#[test]
fn what_is_durable_stands_there_until_it_is_overwritten_or_tidied() {
    let (_folder, path, log) = begun(4);
    let found = |log: DispatchLog| {
        drop(log);
        let (log, recovered) = DispatchLog::open(&path, 4).unwrap();
        let found: Vec<String> = attempts(&recovered).into_iter().map(str::to_owned).collect();
        log.begun().unwrap();
        (log, found)
    };
    let mut large = settled("long");
    large.entry.request_id = "r".repeat(2_000).into();
    let send = |log: &DispatchLog, settled: &Settled| log.write(&log.take().unwrap(), settled).unwrap();
    for sent in [&settled("a"), &large] {
        send(&log, sent);
    }
    log.durable(&["a".into(), "long".into()]);
    let (log, after) = found(log);
    assert_eq!(after, ["a", "long"], "the journal knows both, so they do no harm");
    // A slot that had a long record and then a short one is wiped whole.
    send(&log, &large);
    log.durable(&["long".into()]);
    send(&log, &settled("b"));
    log.durable(&["b".into()]);
    send(&log, &settled("c"));
    let unsent = log.take().unwrap();
    log.clear(unsent);
    assert!(log.tidy(usize::MAX));
    let (log, after) = found(log);
    assert_eq!(after, ["c", "long"], "what is in flight keeps its slot with all that stands there");
    send(&log, &large);
    log.durable(&["long".into()]);
    send(&log, &settled("d"));
    log.durable(&["d".into()]);
    assert!(!log.tidy(0) && log.tidy(1));
    assert_eq!(found(log).1, Vec::<String>::new());
}

#[test]
fn an_old_hold_on_a_slot_does_nothing() {
    let (_folder, path, log) = begun(2);
    let old = log.take().unwrap();
    log.write(&old, &settled("old")).unwrap();
    log.durable(&["old".into()]);
    let new = log.take().unwrap();
    assert_eq!(new.index, old.index, "the last is taken first");
    log.write(&new, &settled("new")).unwrap();
    log.clear(old);
    assert!(matches!(log.write(&old, &settled("old")), Err(DispatchError::NotHeld)));
    log.durable(&["old".into()]);
    drop(log);
    assert_eq!(attempts(&DispatchLog::open(&path, 2).unwrap().1), ["new"]);
}

#[test]
fn another_boot_makes_it_incomplete_until_it_has_begun() {
    let (_folder, path, log) = begun(2);
    log.write(&log.take().unwrap(), &settled("sent")).unwrap();
    let header = Header { boot: "another".to_owned(), ..log.header.clone() };
    let (replica, block) = (log.replica().to_string(), fs::read(&path).unwrap());
    drop(log);
    for begins in [false, true] {
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file::begin(&file, &header, 2).unwrap();
        file.write_all_at(&block[usize::try_from(file::HEADER_BYTES).unwrap()..], file::HEADER_BYTES)
            .unwrap();
        drop(file);
        for _ in 0..2 {
            let (log, recovered) = DispatchLog::open(&path, 2).unwrap();
            let found = (recovered.complete, &*recovered.replica, attempts(&recovered));
            assert_eq!(found, (false, &*replica, vec!["sent"]));
            if begins {
                log.begun().unwrap();
                break;
            }
        }
    }
    assert!(DispatchLog::open(&path, 2).unwrap().1.complete);
}

#[test]
fn a_torn_record_was_never_sent_and_a_torn_header_hides_something() {
    let (_folder, path, log) = begun(2);
    log.write(&log.take().unwrap(), &settled("sent")).unwrap();
    let replica = Arc::clone(log.replica());
    drop(log);
    let whole = fs::read(&path).unwrap();
    let start = usize::try_from(file::HEADER_BYTES).unwrap();
    let length = u32::from_le_bytes(whole[start..start + 4].try_into().unwrap()) as usize;
    for at in 0..RECORD_HEAD_BYTES + length {
        let mut torn = whole.clone();
        torn[start + at] ^= 0x20;
        fs::write(&path, &torn).unwrap();
        let recovered = DispatchLog::open(&path, 2).unwrap().1;
        assert_eq!((attempts(&recovered), recovered.complete), (Vec::new(), true), "byte {at}");
        torn.truncate(start + at);
        fs::write(&path, &torn).unwrap();
        assert_eq!(attempts(&DispatchLog::open(&path, 2).unwrap().1), Vec::<&str>::new(), "byte {at}");
    }
    let text = whole.iter().position(|byte| *byte == 0).unwrap();
    for at in 0..text - 1 {
        let mut torn = whole.clone();
        torn[at] = 0;
        fs::write(&path, &torn).unwrap();
        let recovered = DispatchLog::open(&path, 2).unwrap().1;
        assert!(!recovered.complete && recovered.replica != replica, "byte {at}");
        assert_eq!(attempts(&recovered), ["sent"], "what can be read still counts");
    }
}

#[test]
fn a_log_is_of_one_process_and_its_records_of_one_slot() {
    let (_folder, path, log) = begun(2);
    let Err(StoreError::Refused(message)) = DispatchLog::open(&path, 2) else { panic!("opened twice") };
    assert!(message.contains("used by another process"), "{message}");
    let slot = log.take().unwrap();
    let mut large = settled("large");
    large.entry.request_id = "r".repeat(file::LONG_BYTES).into();
    assert!(matches!(log.write(&slot, &large), Err(DispatchError::TooLong(_))));
    log.clear(slot);
    assert_eq!((log.in_flight(), log.take().map(|slot| slot.index)), (0, Some(0)));
}

#[test]
fn a_log_that_has_shrunk_loses_nothing() {
    let (_folder, path, log) = begun(8);
    for n in 0..8 {
        log.write(&log.take().unwrap(), &settled(&n.to_string())).unwrap();
    }
    drop(log);
    let (log, recovered) = DispatchLog::open(&path, 2).unwrap();
    assert_eq!((attempts(&recovered).len(), log.take()), (8, None));
    log.begun().unwrap();
    assert!(log.take().is_some() && log.take().is_some() && log.take().is_none());
}
