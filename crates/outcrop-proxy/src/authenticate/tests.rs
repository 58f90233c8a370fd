//! Keys in the places where SDKs put them, and roles.

mod signed;

use super::*;
use outcrop_store::keys::Pepper;

pub(super) const NOW: Duration = Duration::from_hours(498_756); // 2026-11-24T12:00:00Z

fn holder(name: &str, role: Role, expires_at: Option<&str>) -> Holder {
    let expires_at = expires_at.map(|text| text.parse().unwrap());
    Holder { caller: Caller::named(name), role, manages: Vec::new(), expires_at }
}

fn ring() -> Keyring {
    let pepper = Pepper::new(b"pepper");
    let mut ring = Keyring::new(Some(pepper.clone()));
    for (prefix, key, holder) in [
        ("oc_abc", "oc_abc_secret", holder("ci", Role::Client, None)),
        ("oc_old", "oc_old_secret", holder("old", Role::Client, Some("2026-11-24T12:00:00Z"))),
        ("oc_new", "oc_new_secret", holder("new", Role::Client, Some("2026-11-24T12:00:01Z"))),
        ("oc_adm", "oc_adm_secret", holder("boss", Role::Admin, None)),
    ] {
        ring.insert(prefix, pepper.hash(key), holder);
    }
    ring
}

/// The caller, or the status of the refusal.
fn check(header: &str, value: &str, expected: Result<&str, u16>) {
    let request = http::Request::builder().header(header, value).body(()).unwrap();
    let found = authenticate(&Auth::Keys(Box::new(ring())), &request.into_parts().0, NOW);
    let found = found.as_ref().map(|(caller, _)| &*caller.name).map_err(|f| f.code.status());
    assert_eq!(found, expected, "{header}: {value}");
}

#[test]
fn a_key_is_accepted_wherever_sdks_put_it_and_only_whole() {
    check("authorization", "Bearer oc_abc_secret", Ok("ci"));
    check("authorization", "bearer oc_abc_secret", Ok("ci"));
    check("x-api-key", "oc_abc_secret", Ok("ci"));
    check("api-key", "oc_abc_secret", Ok("ci"));
    for wrong in ["oc_abc_secre", "oc_abc_secrett", "oc_abc_", "oc_abc", "oc_", "", "oc_abd_secret"] {
        check("x-api-key", wrong, Err(401));
    }
    check("authorization", "AWS4-HMAC-SHA256 Credential=oc_abc_secret", Err(401));
    check("cookie", "oc_abc_secret", Err(401));
}

#[test]
fn a_key_ends_to_the_second_and_an_administrators_calls_no_model() {
    check("x-api-key", "oc_old_secret", Err(401));
    check("x-api-key", "oc_new_secret", Ok("new"));
    check("x-api-key", "oc_adm_secret", Err(403));
}

#[test]
fn a_ring_without_a_pepper_accepts_nothing() {
    let mut ring = Keyring::new(None);
    ring.insert("oc_abc", Pepper::new(b"").hash("oc_abc_secret"), holder("ci", Role::Client, None));
    assert_eq!(ring.find("oc_abc_secret", NOW), None);
    ring.complete(Some(&Pepper::new(b"")), &StoredKeys::default());
    assert!(ring.find("oc_abc_secret", NOW).is_some());
}
