//! What an operator sees of budgets and does to them, over the operator's API and with the commands.
//!
//! What things cost is read from the lab's billing record.

use assert_cmd::Command;
use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::billing::Record;
use outcrop_lab::script::{Script, Spread};
use outcrop_store::keys::{Pepper, to_hex};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api::Api,
    client,
    house::{House, Setup, eventually, target, within},
};

const PEPPER: &str = "0123456789abcdef0123456789abcdef";
const CI: &str = "oc_00c1_ci-secret";
const CD: &str = "oc_00c2_cd-secret";
const EYE: &str = "oc_00c3_eye-secret";

struct Here {
    house: House,
    folder: TempDir,
}

impl Here {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hash = |key: &str| to_hex(&Pepper::new(PEPPER.as_bytes()).hash(key));
        let more = format!(
            "[[key]]\nname = \"ci\"\nhash = \"oc_00c1:{}\"\nteam = \"blue\"\n\
             [[key]]\nname = \"cd\"\nhash = \"oc_00c2:{}\"\nteam = \"red\"\n\
             [[key]]\nname = \"eye\"\nhash = \"oc_00c3:{}\"\nrole = \"viewer\"\n\
             [[budget]]\nscope = \"key:*\"\nlimit = \"100 USD\"\n\
             [[budget]]\nscope = \"team:blue\"\nlimit = \"1000 requests\"\nwindow = \"day\"\n",
            hash(CI),
            hash(CD),
            hash(EYE)
        );
        let setup = Setup {
            auth: format!("mode = \"keys\"\npepper = \"{PEPPER}\""),
            listen: format!("operator = \"{}\"", folder.path().join("outcrop.sock").display()),
            more,
            admin_key: EYE,
            ..Setup::default()
        };
        Self { house: House::set_up(setup).await, folder }
    }

    async fn ask(&self, key: &str, path: &str) -> Record {
        let before = self.billed(path).len();
        let headers = [("x-api-key", key)];
        let model = format!("on-{path}");
        let answer = Api::OpenAi.ask(&self.house, &model, "[[tokens=7]]", false, &headers).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        eventually("the bill", async || self.billed(path).get(before).cloned()).await
    }

    fn billed(&self, path: &str) -> Vec<Record> {
        self.house.lab.target(target(path)).unwrap().billing().records()
    }

    /// Leaves a stream, so that nobody knows what it cost; gives the upstream's bill.
    async fn leave(&self, key: &str) -> Record {
        let slow = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
        self.house.lab.script("openai", slow).await.unwrap();
        let before = self.billed("oai").len();
        let body = Api::OpenAi.body("on-oai", "[[tokens=5000]]", true).to_string();
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        let route = Api::OpenAi.route("on-oai", true);
        let opening = client::open(self.house.data(), Method::POST, &route, &headers, body);
        let mut stream = within("the head", opening).await.unwrap().into_body();
        within("a piece", stream.frame()).await.unwrap().unwrap();
        drop(stream);
        eventually("the bill", async || self.billed("oai").get(before).cloned()).await
    }

    async fn show(&self, budget: &str) -> Value {
        self.house.admin(&format!("/admin/v1/budgets?budget={budget}")).await.json()
    }

    /// What is in suspense of a budget, once there is something.
    async fn suspended(&self, budget: &str) -> Value {
        eventually("suspense", async || {
            let shown = self.show(budget).await;
            (!shown["suspended"].as_array().unwrap().is_empty()).then_some(shown)
        })
        .await
    }

    async fn order(&self, method: Method, path: &str, order: Value) -> (u16, Value) {
        let socket = self.folder.path().join("outcrop.sock");
        let headers = [("content-type", "application/json")];
        let sent = client::send_unix(&socket, method, path, &headers, order.to_string());
        let answer = within("the order", sent).await.unwrap();
        (answer.status, answer.json())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command.env_clear().env("NO_COLOR", "1").args(arguments);
        let output = command.arg("--socket").arg(self.folder.path().join("outcrop.sock")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

#[tokio::test]
async fn what_is_left_is_what_the_upstreams_did_not_bill() {
    let here = Here::start().await;
    let mut billed = 0;
    for path in ["fra", "oai", "ant"] {
        billed += here.ask(CI, path).await.cost_nusd;
    }
    let other = here.ask(CD, "fra").await.cost_nusd;
    let account = eventually("the settlements", async || {
        let shown = here.show("key:ci").await;
        let account = shown["budgets"][0]["accounts"][0].clone();
        (account["posted"] == billed && account["pending"] == 0).then_some(account)
    })
    .await;
    assert_eq!(account["left"], 100_000_000_000_u64 - billed, "{account}");
    assert_eq!(account["forecast"]["per_hour"], billed, "{account}");
    assert_eq!((&account["suspense"], &account["level"]), (&json!(0), &json!("calm")), "{account}");
    let list = here.house.admin("/admin/v1/budgets").await.json();
    let ids: Vec<&Value> = list["budgets"].as_array().unwrap().iter().map(|b| &b["id"]).collect();
    assert_eq!(ids, ["key:*/month/USD", "team:blue/day/requests"], "{list}");
    assert_eq!(list["budgets"][1]["accounts"][0]["posted"], 3, "{list}");
    let spend = eventually("all entries", async || {
        let spend = here.house.admin("/admin/v1/spend?by=key,day").await.json();
        (spend["rows"].as_array().unwrap().len() == 2).then_some(spend)
    })
    .await;
    let mut rows: Vec<(&str, u64)> = (spend["rows"].as_array().unwrap().iter())
        .map(|row| (row["key"].as_str().unwrap(), row["posted_nusd"].as_u64().unwrap()))
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [("cd", other), ("ci", billed)], "{spend}");
    let metrics = here.house.admin("/metrics").await.text();
    let posted = format!("outcrop_budget_nusd{{scope=\"key:*/month/USD key:ci\",kind=\"posted\"}} {billed}");
    assert!(metrics.contains(&posted), "{metrics}");
}

#[tokio::test]
async fn suspense_says_why_and_leaves_by_evidence() {
    let here = Here::start().await;
    let record = here.leave(CI).await;
    let shown = here.suspended("key:ci").await;
    let entry = &shown["suspended"][0];
    assert_eq!(shown["budgets"][0]["accounts"][0]["suspense"], entry["bound_nusd"], "{shown}");
    assert!(entry["why"].as_str().unwrap().contains("never said"), "{entry}");
    let (status, told) = here
        .order(Method::POST, "/admin/v1/reconcile", json!({"attempt": "no", "cost": "1 USD", "reason": "x"}))
        .await;
    assert_eq!(status, 404, "{told}");
    let log = json!({"log": [
        {"requestId": "somebody-else", "input": {"inputTokenCount": 1}, "output": {"outputTokenCount": 1}},
        {"requestId": record.request_id, "input": {"inputTokenCount": record.input_tokens},
         "output": {"outputTokenCount": record.output_tokens}},
    ]});
    let (status, told) = here.order(Method::POST, "/admin/v1/reconcile", log).await;
    assert_eq!((status, &told["unmatched"]), (200, &json!(1)), "{told}");
    let account = here.show("key:ci").await["budgets"][0]["accounts"][0].clone();
    assert_eq!(
        (&account["posted"], &account["suspense"]),
        (&json!(record.cost_nusd), &json!(0)),
        "{account}"
    );
    let requests = here.show("team:blue").await["budgets"][0]["accounts"][0].clone();
    assert_eq!((&requests["posted"], &requests["suspense"]), (&json!(1), &json!(0)), "{requests}");
}

#[tokio::test]
async fn a_limit_is_set_over_the_file_by_whoever_may() {
    let here = Here::start().await;
    here.ask(CI, "fra").await;
    let wanted = json!({"name": "boss", "role": "operator", "manages": ["team:blue"]});
    let (_, boss) = here.order(Method::POST, "/admin/v1/keys", wanted).await;
    let boss = boss["key"].as_str().unwrap();
    let set = |key: &str, order: Value| {
        let key = key.to_owned();
        let house = &here.house;
        async move { house.admin_as(&key, Method::PUT, "/admin/v1/budgets", &order.to_string()).await.status }
    };
    let requests = json!({"budget": "team:blue", "limit": "1 requests"});
    assert_eq!(set(EYE, requests.clone()).await, 403, "a viewer");
    assert_eq!(set(boss, json!({"budget": "key:*", "limit": "1 USD"})).await, 403, "out of bounds");
    assert_eq!(set(boss, json!({"budget": "team:red", "limit": "1 USD"})).await, 404, "not in the file");
    assert_eq!(
        set(boss, json!({"budget": "team:blue/day/requests", "limit": "1 USD"})).await,
        400,
        "the unit"
    );
    assert_eq!(set(boss, requests).await, 200);
    let seen = here.house.admin_as(boss, Method::GET, "/admin/v1/budgets", "").await.json();
    assert_eq!(seen["budgets"].as_array().unwrap().len(), 1, "no more than his own: {seen}");
    assert_eq!(
        (&seen["budgets"][0]["set_by"], &seen["budgets"][0]["file_limit"]),
        (&json!("boss"), &json!(1000))
    );
    let spend = here.house.admin_as(boss, Method::GET, "/admin/v1/spend?by=key", "").await.json();
    assert!(spend["rows"].as_array().unwrap().iter().all(|row| row["key"] == "ci"), "{spend}");
    let body = Api::OpenAi.body("on-fra", "hi", false);
    let answer = here.house.post(&Api::OpenAi.route("on-fra", false), &[("x-api-key", CI)], &body).await;
    assert_eq!(answer.status, 402, "{answer:?}");
    let alerts = eventually("the crossing", async || {
        let alerts = here.house.admin("/admin/v1/alerts").await.json();
        (!alerts["crossings"].as_array().unwrap().is_empty()).then_some(alerts)
    })
    .await;
    assert_eq!(alerts["crossings"][0]["budget"], "team:blue/day/requests", "{alerts}");
    assert_eq!(set(boss, json!({"budget": "team:blue"})).await, 200, "the file's again");
    here.ask(CI, "fra").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_speak_to_people_and_to_programs() {
    let here = Here::start().await;
    here.leave(CI).await;
    let entry = here.suspended("key:ci").await["suspended"][0]["attempt"].as_str().unwrap().to_owned();
    for (arguments, code, out) in [
        (vec!["budget", "list"], 0, "100.00 USD"),
        (vec!["budget", "show", "key:ci"], 0, "never said"),
        (vec!["budget", "show", "key:nobody"], 64, ""),
        (vec!["budget", "set", "key:*", "--limit", "200 USD", "--as", "ada"], 0, "200.00 USD"),
        (vec!["budget", "set", "key:*", "--limit", "many"], 64, ""),
        (vec!["budget", "set", "key:x", "--limit", "2 USD"], 64, ""),
        (vec!["budget", "reconcile", "--attempt", &entry, "--cost", "0.01 USD"], 64, ""),
        (
            vec!["budget", "reconcile", "--attempt", &entry, "--cost", "0.01 USD", "--reason", "bill"],
            0,
            "0.01 USD",
        ),
        (vec!["budget", "reconcile", "--replica", "nobody", "--reason", "gone"], 1, ""),
        (vec!["budget", "export", "--csv", "--by", "key,model"], 0, "ci,on-oai,1,10000000,0,0,"),
        (vec!["budget", "spend", "--by", "nothing"], 64, ""),
        (vec!["budget", "spend", "--by", "key,day"], 0, "0.01 USD"),
        (vec!["budget", "alerts"], 0, "crossed"),
        (vec!["budget", "confirm-clock"], 0, "not in doubt"),
    ] {
        let (got, told, complaint) = here.run(&arguments);
        assert!(got == code && told.contains(out), "{arguments:?}: {got} {told}{complaint}");
    }
    let (code, told, _) = here.run(&["budget", "list", "--json"]);
    let list: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &list["budgets"][0]["set_by"]), (0, &json!("ada")), "{list}");
    here.house.running.stop().await;
}

#[test]
fn no_gateway_is_said_with_its_exit_code() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.env_clear().args(["budget", "list", "--socket", "/nowhere/outcrop.sock"]).assert().code(69);
}

#[tokio::test]
async fn what_cost_more_than_was_reserved_is_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    // A soft budget puts no limit into a request, so an upstream may go beyond what was assumed.
    let setup = Setup {
        listen: format!("operator = \"{}\"", folder.path().join("outcrop.sock").display()),
        limits: "output_tokens_default = 10".to_owned(),
        more: "[[budget]]\nscope = \"all\"\nlimit = \"100 USD\"\nhard = false\n".to_owned(),
        ..Setup::default()
    };
    let here = Here { house: House::set_up(setup).await, folder };
    let alerts = async || here.house.admin("/admin/v1/alerts").await.json()["overshoots"].clone();
    let ask = async |tokens: u64| {
        let messages = json!([{"role": "user", "content": format!("[[tokens={tokens}]]")}]);
        let body = json!({"model": "on-oai", "messages": messages});
        let answer = here.house.post("/v1/chat/completions", &[], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    ask(3).await;
    assert_eq!(alerts().await, json!([]));
    assert!(!here.run(&["budget", "list"]).1.contains("more than was reserved"));
    ask(3_000).await;
    let bill = here.house.billed("oai", 2).await.pop().unwrap();
    let told = eventually("the alert", async || Some(alerts().await).filter(|told| *told != json!([]))).await;
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    let (cost, bound) = (told[0]["cost_nusd"].as_u64().unwrap(), told[0]["bound_nusd"].as_u64().unwrap());
    assert!(cost == bill.cost_nusd && bound < cost, "{told}");
    let balance = here.house.admin("/admin/v1/balance").await.json();
    assert_eq!(balance["overshoots"], 1, "{balance}");
    let (_, list, _) = here.run(&["budget", "list"]);
    assert!(list.contains("1 attempts cost more than was reserved"), "{list}");
    let (_, shown, _) = here.run(&["budget", "alerts"]);
    assert!(shown.contains(told[0]["attempt"].as_str().unwrap()), "{shown}");
}

#[tokio::test]
async fn each_burn_rate_fires_at_its_multiple_of_the_linear_pace() {
    let folder = tempfile::tempdir().unwrap();
    // A week has 168 hours: the linear pace is a request in four hours. An hour at 14.4 times of it is 3.6
    // requests, six hours at 6 times are 9, three days at the pace itself 18.
    let setup = Setup {
        listen: format!("operator = \"{}\"", folder.path().join("outcrop.sock").display()),
        more: "[[budget]]\nscope = \"all\"\nlimit = \"42 requests\"\nwindow = \"week\"\n\
               [[budget]]\nscope = \"all\"\nlimit = \"42 requests\"\nwindow = \"lifetime\"\n"
            .to_owned(),
        ..Setup::default()
    };
    let here = Here { house: House::set_up(setup).await, folder };
    let mut asked = 0;
    for (requests, expected) in [(3, vec![]), (4, vec![144]), (9, vec![144, 60]), (18, vec![144, 60, 10])] {
        while asked < requests {
            let answer = Api::OpenAi.ask(&here.house, "on-oai", "[[tokens=3]]", false, &[]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            asked += 1;
        }
        let alerts = eventually("all are settled", async || {
            let settled = here.show("all").await["budgets"][0]["accounts"][0]["posted"] == json!(requests);
            if settled { Some(here.house.admin("/admin/v1/alerts").await.json()) } else { None }
        })
        .await;
        let burning = alerts["burning"].as_array().unwrap();
        let fired: Vec<&Value> = burning.iter().map(|alert| &alert["burn"]["threshold_tenths"]).collect();
        assert_eq!(
            fired,
            expected.iter().map(|tenths| json!(tenths)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
        assert!(burning.iter().all(|alert| alert["budget"] == "all/week/requests"), "{alerts}");
    }
    let (code, shown, _) = here.run(&["budget", "alerts"]);
    let all = ["14.4 times", "60 min and 5 min", "6.0 times", "1.0 times", "4320 min and 360 min"];
    assert!(code == 0 && all.iter().all(|words| shown.contains(words)), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_log_is_read_from_its_file() {
    let here = Here::start().await;
    let record = here.leave(CI).await;
    here.suspended("key:ci").await;
    let file = here.folder.path().join("invocations.jsonl");
    let line = |id: &str, input: u64, output: u64| {
        json!({
            "requestId": id, "timestamp": "2026-11-24T00:00:00Z", "modelId": "m",
            "input": {"inputTokenCount": input, "inputBodyJson": {"messages": "a prompt"}},
            "output": {"outputTokenCount": output, "outputBodyJson": {}},
        })
        .to_string()
    };
    let own = line(&record.request_id, record.input_tokens, record.output_tokens);
    let reconcile = |text: &str| {
        std::fs::write(&file, text).unwrap();
        here.run(&["budget", "reconcile", "--log", file.to_str().unwrap(), "--json"])
    };
    let (code, _, complaint) = reconcile(&format!("{own}\nno json\n"));
    assert!(code == 64 && complaint.contains("invocations.jsonl:2: this is no JSON"), "{code} {complaint}");
    let (code, told, complaint) = reconcile(&format!("{}\n\n{own}\n", line("somebody-else", 1, 1)));
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{complaint}"));
    assert_eq!((code, &told["unmatched"], &told["refused"]), (0, &json!(1), &json!([])), "{told}");
    assert_eq!(told["resolved"].as_array().unwrap().len(), 1, "{told}");
    let account = here.show("key:ci").await["budgets"][0]["accounts"][0].clone();
    let expected = (&json!(record.cost_nusd), &json!(0));
    assert_eq!((&account["posted"], &account["suspense"]), expected, "{account}");
    let (code, _, complaint) = here.run(&["budget", "reconcile", "--log", "/nowhere.jsonl"]);
    assert!(code == 64 && complaint.contains("/nowhere.jsonl"), "{code} {complaint}");
}
