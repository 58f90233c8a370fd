//! The binary as a shell sees it: what it prints, and the code it ends with.

use std::{fs, path::PathBuf, process::Stdio};

use assert_cmd::Command;
use outcrop_lab::{Lab, LabConfig};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{
    api::Api,
    client,
    house::{eventually, simulated, within},
};

const BAD: u8 = 64;

fn outcrop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.env_clear().env("NO_COLOR", "1");
    command
}

/// The repository's own file.
fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../outcrop.toml")
}

pub(crate) const LAB_VARIABLES: [(&str, &str); 4] = [
    ("LAB_AWS_ID", outcrop_lab::bedrock::ACCESS_KEY_ID),
    ("LAB_AWS_SECRET", outcrop_lab::bedrock::SECRET_ACCESS_KEY),
    ("LAB_OPENAI_KEY", outcrop_lab::openai::API_KEY),
    ("LAB_ANTHROPIC_KEY", outcrop_lab::anthropic::API_KEY),
];

#[test]
fn the_schema_is_json() {
    let output = outcrop().args(["check", "--schema"]).output().unwrap();
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    for table in ["listen", "auth", "path", "model", "price", "operation", "key", "limits"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn the_repositorys_own_file_is_right() {
    let mut check = outcrop();
    check.arg("check").arg("--config").arg(example()).arg("--json").envs(LAB_VARIABLES);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = summary.to_string();
    assert!(text.contains("sonnet") && text.contains("infrastructure"), "{text}");
    for (_, secret) in LAB_VARIABLES {
        assert!(!text.contains(secret), "a secret is printed");
    }
    let tables = outcrop().arg("check").arg("--config").arg(example()).envs(LAB_VARIABLES).output().unwrap();
    assert!(String::from_utf8_lossy(&tables.stdout).contains("Legal targets"));
}

#[test]
fn prices_are_shown_with_who_says_so() {
    let check = |more: &[&str]| {
        let mut check = outcrop();
        check.args(["check", "--prices"]).args(more).arg("--config").arg(example()).envs(LAB_VARIABLES);
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown: Value = serde_json::from_str(&check(&["--json"])).unwrap();
    let catalogue = &shown["catalogue"];
    for (key, value) in [("package", "litellm"), ("licence", "MIT"), ("date", "2026-11-24")] {
        assert_eq!(catalogue[key], value, "{catalogue}");
    }
    let of = |target: &str| {
        let targets = shown["targets"].as_array().unwrap();
        targets
            .iter()
            .find(|t| t["target"] == target)
            .unwrap_or_else(|| panic!("{target}: {shown:#}"))
            .clone()
    };
    assert_eq!(of("fra/eu.anthropic.claude-sonnet-4-5-20250929-v1:0")["from"], "file");
    let mini = of("open-ai/gpt-4o-mini");
    assert_eq!((&mini["from"], &mini["output_tokens_max"]), (&"catalogue".into(), &16_384.into()), "{mini}");
    assert_eq!(mini["price"]["standard"]["base"]["input"], 150_000, "{mini}");
    assert!(mini["price"]["source"].as_str().unwrap().starts_with("https://"), "{mini}");
    let table = check(&[]);
    for words in ["desk/sonnet", "[[price]] sonnet", "gpt-4o-mini", "LiteLLM", "2026-11-24", "licence MIT"] {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
}

#[test]
fn check_shows_the_budgets_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("budgets.toml");
    let check = |budgets: &str, more: &[&str]| {
        fs::write(&file, fs::read_to_string(example()).unwrap() + budgets).unwrap();
        outcrop().arg("check").args(more).arg("--config").arg(&file).envs(LAB_VARIABLES).output().unwrap()
    };
    let budgets = "\n[[budget]]\nscope = \"run:*\"\nlimit = \"7.5 USD\"\nwindow = \"day\"\n\
                   [[budget]]\nscope = \"team:grey\"\nlimit = \"9 Mtok output\"\nwindow = \"lifetime\"\nhard = false\n";
    let output = check(budgets, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |id: &str| {
        let all = shown["budgets"].as_array().unwrap();
        all.iter().find(|budget| budget["id"] == id).unwrap_or_else(|| panic!("{id}: {all:?}"))
    };
    let run = of("run:*/day/USD");
    assert_eq!((&run["limit"], &run["hard"]), (&7_500_000_000_u64.into(), &true.into()), "{run}");
    assert_eq!(run["carve_out"], 375_000_000, "5 % for emergencies");
    let grey = of("team:grey/lifetime/output tokens");
    assert_eq!((&grey["limit"], &grey["hard"]), (&9_000_000.into(), &false.into()), "{grey}");
    let output = check(budgets, &[]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |words: &[&str]| table.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(row(&["run:*", "day", "7.50 USD", "hard", "0.375 USD"]), "{table}");
    assert!(row(&["team:grey", "lifetime", "9000000 output tokens", "soft"]), "{table}");
    let refused = check("\n[[budget]]\nscope = \"run:*\"\nlimit = \"7.5 bananas\"\n", &[]);
    assert_eq!(refused.status.code(), Some(BAD.into()));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("budgets.toml:"), "{refused:?}");
}

#[test]
fn a_missing_variable_is_named() {
    let output = outcrop().arg("check").arg("--config").arg(example()).output().unwrap();
    assert_eq!(output.status.code(), Some(BAD.into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("LAB_OPENAI_KEY"));
}

#[test]
fn a_bad_file_ends_with_64_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, "[listen]\ndatta = \"127.0.0.1:1\"\n").unwrap();
    for command in ["check", "serve"] {
        let output = outcrop().arg(command).arg("--config").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(BAD.into()), "{command}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("bad.toml:2:1") && said.contains("did you mean `data`?"), "{said}");
        assert!(output.stdout.is_empty(), "errors go to standard error");
    }
    let output = outcrop().args(["check", "--config", "/nowhere/outcrop.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(BAD.into()));
    let output = outcrop().arg("unheard-of").output().unwrap();
    assert_eq!(output.status.code(), Some(BAD.into()));
}

#[test]
fn a_taken_port_ends_with_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcrop.toml");
    let text =
        minimal("http://127.0.0.1:1/v1").replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    fs::write(&file, text).unwrap();
    let output = outcrop().arg("serve").arg("--config").arg(&file).envs(LAB_VARIABLES).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen"));
}

fn minimal(url: &str) -> String {
    format!(
        "[listen]\ndata = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[auth]\nmode = \"open\"\n\
         [[path]]\nname = \"oai\"\nkind = \"openai\"\nurl = \"{url}\"\nkey_env = \"LAB_OPENAI_KEY\"\n\
         [[model]]\nname = \"mini\"\ntargets = [{{ path = \"oai\", id = \"gpt-4o-mini\" }}]\n"
    )
}

/// The first log line with this message.
async fn logged(lines: &mut Lines<BufReader<ChildStderr>>, message: &str) -> Value {
    let searching = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value =
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("not one JSON line: {line}"));
            if line["message"] == message {
                return line;
            }
        }
        panic!("the log ended before `{message}`");
    };
    within(message, searching).await
}

fn signal(process: &Child, name: &str) {
    let id = process.id().unwrap().to_string();
    let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(id).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_process_serves_reloads_on_hangup_and_ends_with_0_on_terminate() {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcrop.toml");
    let text = minimal(&lab.url("openai").unwrap());
    fs::write(&file, &text).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.arg("serve").arg("--config").arg(&file).envs(LAB_VARIABLES);
    let mut process = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let data = logged(&mut log, "serving").await["data"].as_str().unwrap().parse().unwrap();

    let body = Api::OpenAi.body("mini", "[[tokens=3]]", true).to_string();
    let headers = [("content-type", "application/json")];
    let asking = client::send(data, http::Method::POST, "/v1/chat/completions", &headers, body);
    let answer = within("an answer", asking).await.unwrap();
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("oai", 3));
    let line = logged(&mut log, "exchange").await;
    assert_eq!(line["request_id"], answer.header("x-outcrop-request-id"));
    assert!(!line.to_string().contains("Simulated"), "no content in the log: {line}");

    signal(&process, "HUP");
    assert_eq!(logged(&mut log, "configuration reloaded").await["version"], 2);
    signal(&process, "TERM");
    let status = within("the end of the process", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_silent_log_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcrop.toml");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = minimal("http://127.0.0.1:9/v1");
    fs::write(&file, text.replacen("data = \"127.0.0.1:0\"", &format!("data = \"{free}\""), 1)).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.arg("serve").arg("--config").arg(&file).envs(LAB_VARIABLES).env("OUTCROP_LOG", "off");
    let mut process = command.kill_on_drop(true).spawn().unwrap();
    let models = async || client::send(free, http::Method::GET, "/v1/models", &[], String::new()).await.ok();
    let answer = eventually("the gateway serves", models).await;
    assert_eq!(answer.status, 200);
    signal(&process, "TERM");
    let status = within("the end of the process", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}
