//! Reports as an auditor handles them: verified, rendered again, compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use outcrop::certify::publish::{Signer, publish};
use outcrop_lab::certify::outcome::Outcome;
use outcrop_lab::certify::report::{Document, Standing};
use serde_json::Value;

/// Invented figures, kept for tests of the report.
fn sample() -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../outcrop-lab/tests/golden/report/sample.json");
    Document::from_json(&fs::read(path).unwrap()).unwrap().outcome
}

struct Place {
    folder: tempfile::TempDir,
    signer: Signer,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::new(None, folder.path()).unwrap();
        Self { folder, signer }
    }

    fn publish(&self, name: &str, outcome: Outcome) -> PathBuf {
        let out = self.folder.path().join(name);
        publish(outcome, &out, &self.signer).unwrap();
        out.join("report.json")
    }
}

fn certify(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.env_clear().env("NO_COLOR", "1").arg("certify").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).replace('\n', " ")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_report_is_verified_and_a_changed_byte_found() {
    let place = Place::new();
    let report = place.publish("run", sample());
    let key = report.with_file_name("signer.pub.pem");
    let unpinned = certify(&["verify", path(&report)]);
    assert!(unpinned.status.success() && said(&unpinned).contains("Nothing is proved about who signed it"));
    for pin in [path(&key).to_owned(), place.signer.id()] {
        let pinned = certify(&["verify", path(&report), "--key", &pin, "--json"]);
        let value: Value = serde_json::from_slice(&pinned.stdout).unwrap();
        assert!(pinned.status.success() && value["origin_proved"] == true, "{value}");
    }
    let bytes = fs::read(&report).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&report, changed).unwrap();
        let refused = certify(&["verify", path(&report)]);
        assert_eq!(refused.status.code(), Some(1), "byte {at}");
        assert!(said(&refused).contains("the report was changed"), "{}", said(&refused));
        assert!(!certify(&["report", path(&report)]).status.success(), "no page is made from it");
    }
}

#[test]
fn a_report_signed_anew_by_somebody_else_is_told() {
    let place = Place::new();
    let other = Place::new();
    let report = place.publish("run", sample());
    let forged = other.publish("run", sample());
    fs::copy(forged.with_extension("json.sig"), report.with_extension("json.sig")).unwrap();
    assert!(certify(&["verify", path(&report)]).status.success(), "integrity holds");
    let refused = certify(&["verify", path(&report), "--key", &place.signer.id()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("not by the key that was asked for"));
    let nonsense = certify(&["verify", path(&report), "--key", "sha256:12"]);
    assert_eq!(nonsense.status.code(), Some(64));
    assert_eq!(certify(&["verify", "nowhere.json"]).status.code(), Some(64));
}

#[test]
fn every_other_form_is_made_again_from_the_record() {
    let place = Place::new();
    let report = place.publish("run", sample());
    let again = place.folder.path().join("again");
    let made = certify(&["report", path(&report), "--out", path(&again)]);
    assert!(made.status.success(), "{}", said(&made));
    for name in ["report.html", "report.md", "report.junit.xml"] {
        assert_eq!(
            fs::read(again.join(name)).unwrap(),
            fs::read(report.with_file_name(name)).unwrap(),
            "{name}"
        );
    }
    let page = fs::read_to_string(again.join("report.html")).unwrap();
    assert!(page.contains(&place.signer.id()));
    let schema: Value = serde_json::from_slice(&certify(&["report", "--schema"]).stdout).unwrap();
    assert!(schema["properties"]["outcome"].is_object());
}

#[test]
fn regressions_are_found_and_noise_is_not() {
    let place = Place::new();
    let before = place.publish("before", sample());
    let same = certify(&["compare", path(&before), path(&before)]);
    assert!(same.status.success() && said(&same).contains("Nothing got worse"));
    let mut slower = sample();
    slower.suites[0].scenarios[0].verdicts[2].measured = 39.0;
    let after = place.publish("after", slower.clone());
    let worse = certify(&["compare", path(&before), path(&after), "--json"]);
    assert_eq!(worse.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&worse.stdout).unwrap();
    assert_eq!(value["rows"][0]["change"], "regressed", "{value}");
    assert!(
        certify(&["compare", path(&after), path(&before)]).status.success(),
        "the other way it is an improvement"
    );
    slower.profile = "standard".to_owned();
    let other = place.publish("other", slower);
    let refused = certify(&["compare", path(&before), path(&other)]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(said(&refused).contains("different profiles"));
}

#[test]
fn keys_are_kept_for_their_owner_and_the_operators_own_is_used() {
    let place = Place::new();
    let kept = place.folder.path().join("outcrop-certify.key");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Signer::new(None, place.folder.path()).unwrap().id(), place.signer.id(), "made once");
    let own = publish(sample(), &place.folder.path().join("own"), &place.signer).unwrap();
    assert_eq!(own.standing, Standing::Failed);
    assert!(own.signed.contains("not where it comes from"), "{}", own.signed);
    let given = Signer::new(Some(&kept), place.folder.path()).unwrap();
    let theirs = publish(sample(), &place.folder.path().join("given"), &given).unwrap();
    assert!(!theirs.signed.contains("not where it comes from"));
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = Signer::new(None, place.folder.path()).unwrap_err();
    assert!(exposed.to_string().contains("chmod 600"), "{exposed}");
}
