//! A changed file takes force whole or not at all, and no request notices.

use std::{fs, path::Path};

use outcrop::{config, serve::Running};
use outcrop_lab::{
    Lab, LabConfig,
    script::{Script, Spread},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api::Api,
    client,
    house::{eventually, simulated, within},
};

/// A gateway that reads a file of its own.
struct Reloading {
    lab: Lab,
    running: Running,
    folder: TempDir,
}

impl Reloading {
    async fn start() -> Self {
        let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outcrop.toml");
        fs::write(&file, text(&lab, "first", "")).unwrap();
        let checked = config::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
        let running = Running::start(&checked, Some(file)).await.unwrap();
        let reloading = Self { lab, running, folder };
        reloading.watched().await;
        reloading
    }

    /// Waits until changes are noticed: the watcher begins a moment after the start.
    async fn watched(&self) {
        let mut round = 0;
        eventually("the file is watched", async || {
            round += 1;
            self.replace(&text(&self.lab, "first", &format!("# {round}")));
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            (self.version() > 1).then_some(())
        })
        .await;
        // A change under way is taken up before the next one counts.
        let mut before = 0;
        eventually("the versions stand still", async || {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            let now = self.version();
            (std::mem::replace(&mut before, now) == now).then_some(())
        })
        .await;
    }

    fn version(&self) -> u64 {
        self.running.gateway.snapshot().version
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("outcrop.toml")
    }

    /// Replaces the file as editors do.
    fn replace(&self, text: &str) {
        let other = self.folder.path().join("outcrop.toml.tmp");
        fs::write(&other, text).unwrap();
        fs::rename(other, self.file()).unwrap();
    }

    async fn reloaded(&self, before: u64) {
        eventually("a reload", async || (self.version() > before).then_some(())).await;
    }

    async fn models(&self) -> Vec<String> {
        let answer =
            within("the models", client::send(self.running.data, http::Method::GET, "/v1/models", &[], ""));
        let list: Value = answer.await.unwrap().json();
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn ask(&self, model: &str, text: &str, stream: bool) -> client::Answer {
        let body = Api::OpenAi.body(model, text, stream).to_string();
        let headers = [("content-type", "application/json")];
        let asking =
            client::send(self.running.data, http::Method::POST, "/v1/chat/completions", &headers, body);
        within("an answer", asking).await.unwrap()
    }
}

/// A file with one model.
fn text(lab: &Lab, model: &str, more: &str) -> String {
    format!(
        "[listen]\ndata = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[auth]\nmode = \"open\"\n\
         [[path]]\nname = \"oai\"\nkind = \"openai\"\nurl = \"{}\"\nkey = \"{}\"\n\
         [[model]]\nname = \"{model}\"\ntargets = [{{ path = \"oai\", id = \"gpt-4o-mini\" }}]\n{more}\n",
        lab.url("openai").unwrap(),
        outcrop_lab::openai::API_KEY
    )
}

#[tokio::test]
async fn a_changed_file_takes_force() {
    let house = Reloading::start().await;
    for model in ["second", "third"] {
        let before = house.version();
        house.replace(&text(&house.lab, model, ""));
        house.reloaded(before).await;
        assert_eq!(house.models().await, [model]);
        assert_eq!(house.ask(model, "hi", false).await.status, 200);
        assert_eq!(house.ask("first", "hi", false).await.status, 404);
    }
    // Written in place, as a shell does.
    let before = house.version();
    fs::write(house.file(), text(&house.lab, "fourth", "")).unwrap();
    house.reloaded(before).await;
    assert_eq!(house.models().await, ["fourth"]);
}

#[tokio::test]
async fn a_bad_file_changes_nothing() {
    let house = Reloading::start().await;
    let before = house.version();
    let unknown = "[[operation]]\nname = \"x\"\norder = [\"nowhere\"]";
    for bad in ["not toml [", "", &text(&house.lab, "second", unknown), &text(&house.lab, "second", "[what]")]
    {
        assert!(config::parse("test.toml", bad).is_err(), "{bad}");
        house.replace(bad);
        // A good file behind it shows that the bad one was seen and refused.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert_eq!(house.version(), before, "{bad}");
        assert_eq!(house.models().await, ["first"], "{bad}");
    }
    fs::remove_file(house.file()).unwrap();
    assert_eq!(house.ask("first", "hi", false).await.status, 200, "a missing file changes nothing");
    house.replace(&text(&house.lab, "second", ""));
    house.reloaded(before).await;
    assert_eq!(house.version(), before + 1, "the bad files left no trace");
    assert_eq!(house.models().await, ["second"]);
}

#[tokio::test]
async fn what_runs_keeps_the_configuration_it_began_with() {
    let house = Reloading::start().await;
    let pace = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
    house.lab.script("openai", pace).await.unwrap();
    let before = house.version();
    let reload = async {
        eventually("the stream runs", async || {
            house.lab.requests("openai").unwrap().last().filter(|seen| seen.events_sent > 3).map(|_| ())
        })
        .await;
        house.replace(&text(&house.lab, "second", "[limits]\nstream_total_max = \"1s\""));
        house.reloaded(before).await;
        assert_eq!(house.models().await, ["second"]);
    };
    let (answer, ()) = tokio::join!(house.ask("first", "[[tokens=80]]", true), reload);
    let told = Api::OpenAi.hear(&answer);
    assert!(told.text == simulated("oai", 80) && told.is_complete(Api::OpenAi), "{told:?}");
}

#[tokio::test]
async fn the_record_names_the_snapshot_that_decided() {
    let house = Reloading::start().await;
    let before = house.version();
    house.replace(&text(&house.lab, "second", ""));
    house.reloaded(before).await;
    let answer = house.ask("second", "hi", false).await;
    let id = answer.header("x-outcrop-request-id").to_owned();
    let decision = house.running.gateway.decisions.get(&id).unwrap();
    assert_eq!(json!(decision.snapshot), json!(before + 1));
    assert!(Path::new(&house.file()).exists());
}

#[tokio::test]
async fn what_was_used_of_a_rate_stays_used() {
    let house = Reloading::start().await;
    let rate = |burst: u32| format!("[[rate]]\nscope = \"all\"\nlimit = \"5 requests/day\"\nburst = {burst}");
    for (more, expected) in [
        (rate(2), [200, 200, 429]),
        (format!("{}\n[limits]\nstream_stall_max = \"9s\"", rate(2)), [429, 429, 429]),
        (rate(1), [200, 429, 429]),
        (String::new(), [200, 200, 200]),
    ] {
        let before = house.version();
        house.replace(&text(&house.lab, "second", &more));
        house.reloaded(before).await;
        for status in expected {
            assert_eq!(house.ask("second", "hi", false).await.status, status, "{more}");
        }
    }
}
