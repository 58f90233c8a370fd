//! Keys from making to revoking, over a register in memory.

use secrecy::ExposeSecret;

use super::*;
use crate::Register;

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn desk() -> KeyDesk {
    KeyDesk::new(Register::in_memory(), Pepper::new(&[7; 32]))
}

fn root() -> Administrator {
    Administrator::of_the_machine("machine")
}

fn holder(record: &KeyRecord) -> Administrator {
    Administrator {
        name: record.name.as_str().into(),
        role: record.role,
        manages: record.manages.iter().map(|s| outcrop_policy::Scope::parse(s).unwrap()).collect(),
        models: record.models.clone(),
        residency: record.residency,
        expires_at: record.expires_at,
    }
}

#[tokio::test]
async fn a_key_is_kept_as_a_hash_and_its_pair_as_nothing_but_an_id() {
    let register = Register::in_memory();
    let pepper = Pepper::new(&[7; 32]);
    let desk = KeyDesk::new(register.clone(), pepper.clone());
    let wanted = Wanted { aws: true, team: "blue".into(), ..Wanted::named("ci", Role::Client) };
    let minted = desk.mint(&root(), &wanted, now()).await.unwrap();
    let key = minted.key.expose_secret();
    assert_eq!(key.len(), "oc_".len() + 12 + 1 + 43);
    assert_eq!(public_prefix(key), Some(minted.record.prefix.as_str()));
    assert!(pepper.knows(key, &minted.record.hash_bytes().unwrap()));
    assert!(!pepper.knows(&key[..key.len() - 1], &minted.record.hash_bytes().unwrap()));
    let id = minted.record.access_key_id.clone().unwrap();
    assert!(id.len() == 20 && id.starts_with("AKIAOC") && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let secret = minted.pair_secret.unwrap();
    assert_eq!(secret.expose_secret().len(), 40);
    assert_eq!(pepper.pair_secret(&id).expose_secret(), secret.expose_secret());
    assert_ne!(Pepper::new(&[8; 32]).pair_secret(&id).expose_secret(), secret.expose_secret());
    let kept = format!("{:?}", register.documents());
    assert!(!kept.contains(key.rsplit('_').next().unwrap()) && !kept.contains(secret.expose_secret()));
    assert!(!minted.record.shown(now()).to_string().contains(&minted.record.hash));
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_and_is_forgotten_in_the_end() {
    let desk = desk();
    let minted = desk.mint(&root(), &Wanted::named("ci", Role::Client), now()).await.unwrap();
    let revoked = desk.revoke(&root(), &minted.record.prefix, now()).await.unwrap();
    assert!(!revoked.is_active(now()));
    let later = now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(desk.revoke(&root(), &minted.record.prefix, later).await.unwrap(), revoked);
    assert_eq!(desk.revoke(&root(), "oc_none", now()).await, Err(DeskError::Unknown("oc_none".into())));
    let much_later = now() + jiff::SignedDuration::from_hours(ENDED_KEPT_HOURS + 1);
    desk.mint(&root(), &Wanted::named("cd", Role::Client), much_later).await.unwrap();
    assert_eq!(desk.list(&root()).iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["cd"]);
}

#[tokio::test]
async fn a_grant_never_exceeds_its_grantor() {
    let desk = desk();
    let wanted = Wanted {
        team: "blue".into(),
        models: Some(vec!["a".into(), "b".into()]),
        residency: Some(Residency::Eu),
        expires: Some("10d".into()),
        ..Wanted::named("boss", Role::Admin)
    };
    let boss = desk.mint(&root(), &wanted, now()).await.unwrap().record;
    assert_eq!(boss.manages, ["team:blue"]);
    let within = Wanted {
        team: "blue".into(),
        models: Some(vec!["a".into()]),
        residency: Some(Residency::Eu),
        ..Wanted::named("ci", Role::Client)
    };
    let admin = Wanted { role: Role::Admin, name: "two".into(), ..within.clone() };
    for (what, wanted, granted) in [
        ("a client of the team", within.clone(), true),
        ("no team", Wanted { team: String::new(), ..within.clone() }, false),
        ("another team", Wanted { team: "red".into(), ..within.clone() }, false),
        ("a model more", Wanted { models: Some(vec!["a".into(), "c".into()]), ..within.clone() }, false),
        ("all models", Wanted { models: None, ..within.clone() }, false),
        ("any residency", Wanted { residency: None, ..within.clone() }, false),
        ("an admin for longer", admin.clone(), false),
        ("an admin as long", Wanted { expires: Some("10d".into()), ..admin.clone() }, true),
        (
            "an admin of everything",
            Wanted { expires: Some("9d".into()), manages: vec!["all".into()], ..admin.clone() },
            false,
        ),
    ] {
        let made = desk.mint(&holder(&boss), &wanted, now()).await;
        assert_eq!(made.is_ok(), granted, "{what}: {made:?}");
        assert!(granted || matches!(made, Err(DeskError::Forbidden(_))), "{what}: {made:?}");
    }
    let other = desk.mint(&root(), &Wanted::named("red", Role::Client), now()).await.unwrap().record;
    assert!(desk.list(&holder(&boss)).iter().all(|key| key.team == "blue"));
    assert!(matches!(desk.revoke(&holder(&boss), &other.prefix, now()).await, Err(DeskError::Unknown(_))));
}

#[tokio::test]
async fn an_operator_makes_and_revokes_no_admin() {
    let desk = desk();
    let admin = desk.mint(&root(), &Wanted::named("boss", Role::Admin), now()).await.unwrap().record;
    let operator = desk.mint(&root(), &Wanted::named("op", Role::Operator), now()).await.unwrap().record;
    let made = desk.mint(&holder(&operator), &Wanted::named("x", Role::Admin), now()).await;
    assert!(matches!(made, Err(DeskError::Forbidden(_))), "{made:?}");
    let revoked = desk.revoke(&holder(&operator), &admin.prefix, now()).await;
    assert!(matches!(revoked, Err(DeskError::Forbidden(_))), "{revoked:?}");
}

#[tokio::test]
async fn the_first_admin_key_is_made_once() {
    let desk = desk();
    let first = desk.first_admin(now()).await.unwrap().unwrap().record;
    assert!(first.role == Role::Admin && first.is_active(now()));
    desk.revoke(&root(), &first.prefix, now()).await.unwrap();
    assert!(desk.first_admin(now()).await.unwrap().is_none());
    let much_later = now() + jiff::SignedDuration::from_hours(ENDED_KEPT_HOURS + 1);
    desk.mint(&root(), &Wanted::named("ci", Role::Client), much_later).await.unwrap();
    assert!(desk.first_admin(much_later).await.unwrap().is_none(), "its record is forgotten, it is not");
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_with_the_cause() {
    let desk = desk();
    let team = Wanted { team: "blue".into(), ..Wanted::named("ci", Role::Client) };
    desk.mint(&root(), &team, now()).await.unwrap();
    let named = |name: &str| Wanted::named(name, Role::Client);
    for (wanted, says) in [
        (named(""), "needs a name"),
        (named("a+b"), "letters, digits"),
        (named(&"a".repeat(101)), "at most 100"),
        (named("ci"), "another team"),
        (Wanted { expires: Some("soon".into()), ..named("a") }, "no end of a key"),
        (Wanted { expires: Some("2020-01-01".into()), ..named("a") }, "not in the future"),
        (Wanted { manages: vec!["all".into()], ..named("a") }, "administers nothing"),
        (Wanted { manages: vec!["kee:x".into()], role: Role::Admin, ..named("a") }, "kind of scope"),
        (Wanted { aws: true, role: Role::Admin, ..named("a") }, "AWS pair"),
    ] {
        let refused = desk.mint(&root(), &wanted, now()).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{wanted:?}: {refused}");
    }
}

#[test]
fn the_end_of_a_key_is_written_in_three_ways() {
    for (text, expected) in [
        ("90d", "2027-02-22T12:00:00Z"),
        ("12h", "2026-11-25T00:00:00Z"),
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:30:00+01:00", "2027-01-31T11:30:00Z"),
    ] {
        assert_eq!(expiry(text, now()), Ok(expected.parse().unwrap()), "{text}");
    }
}

#[test]
fn a_record_that_cannot_be_read_opens_nothing() {
    let record = r#"{"prefix":"oc_a","hash":"00","name":"a","role":"client","created_at":"2026-11-24T12:00:00Z","created_by":"x""#;
    assert!(KeyRecord::read(&format!("{record}}}")).is_ok());
    assert!(KeyRecord::read(&format!("{record},\"only_on_sundays\":true}}")).is_err());
    assert_eq!(KeyRecord::read(&format!("{record}}}")).unwrap().hash_bytes(), None);
}
