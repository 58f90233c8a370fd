//! A gateway in front of a lab, both in this process and on free ports.
//!
//! Paths: `fra` and `dub` (Bedrock), `desk` (MCP), `oai` (OpenAI), `ant` (Anthropic). The model `any` has a
//! target on each; `on-<path>` has that one only. For every pair of paths an operation `<a>-<b>` tries the
//! one and then the other.

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::Method;
use outcrop::{
    config::{self, Checked},
    serve::Running,
};
use outcrop_lab::{
    Lab, LabConfig,
    billing::Record,
    requests::Seen,
    script::{Fault, Script},
};
use outcrop_upstream::{CredentialSpec, KindSpec};
use serde_json::Value;

use crate::client::{self, Answer};

/// The model's profile on Bedrock.
pub(crate) const SONNET: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// Paths and their model ids.
pub(crate) const PATHS: [(&str, &str); 5] = [
    ("fra", SONNET),
    ("dub", SONNET),
    ("desk", "sonnet"),
    ("oai", "gpt-4o-mini"),
    ("ant", "claude-sonnet-4-5"),
];

/// Longest wait for anything that must happen; only a broken gateway ever waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test's gateway has beside the usual.
pub(crate) struct Setup {
    /// Contents of `[auth]`.
    pub(crate) auth: String,
    /// Key of an admin, where one is asked for.
    pub(crate) admin_key: &'static str,
    /// Further lines of `[listen]`.
    pub(crate) listen: String,
    /// Contents of `[store]`.
    pub(crate) store: String,
    /// Contents of `[limits]`.
    pub(crate) limits: String,
    /// Further lines of the path `desk`.
    pub(crate) desk: String,
    /// Further tables.
    pub(crate) more: String,
    /// Folder that stands for `/` where the process reads its memory; the kernel's own by default.
    pub(crate) memory_root: Option<PathBuf>,
    /// Last changes to what the file cannot say.
    pub(crate) adjust: fn(&mut Checked),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            auth: "mode = \"open\"".to_owned(),
            admin_key: "",
            listen: String::new(),
            store: "url = \"memory:\"\ngrant_wait_max = \"10s\"".to_owned(),
            limits: String::new(),
            desk: "effect = \"read_only\"".to_owned(),
            more: String::new(),
            memory_root: None,
            adjust: |_| {},
        }
    }
}

/// A gateway in front of a lab.
pub(crate) struct House {
    pub(crate) lab: Lab,
    pub(crate) running: Running,
    admin_key: &'static str,
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::set_up(Setup::default()).await
    }

    /// The usual gateway with further tables.
    pub(crate) async fn with(more: &str) -> Self {
        Self::set_up(Setup { more: more.to_owned(), ..Setup::default() }).await
    }

    pub(crate) async fn limited(limits: &str) -> Self {
        Self::set_up(Setup { limits: limits.to_owned(), ..Setup::default() }).await
    }

    pub(crate) async fn set_up(setup: Setup) -> Self {
        let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
        let mut checked =
            config::parse("test.toml", &text(&lab, &setup)).unwrap_or_else(|problems| panic!("{problems}"));
        for path in &mut checked.paths {
            if let KindSpec::Bedrock(bedrock) = &mut path.kind {
                bedrock.credentials = lab_keys();
            }
        }
        if let Some(root) = setup.memory_root {
            checked.memory.root = root;
        }
        (setup.adjust)(&mut checked);
        let running = Running::start(&checked, None).await.unwrap();
        Self { lab, running, admin_key: setup.admin_key }
    }

    pub(crate) fn data(&self) -> SocketAddr {
        self.running.data
    }

    /// Posts JSON to the client APIs.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post_bytes(path, headers, body.to_string()).await
    }

    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        within(path, client::send(self.data(), Method::POST, path, &all, body)).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        within(path, client::send(self.data(), Method::GET, path, &[], "")).await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        self.admin_as(self.admin_key, Method::GET, path, "").await
    }

    /// Asks the operator's API with a key.
    pub(crate) async fn admin_as(&self, key: &str, method: Method, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        within(path, client::send(self.running.admin, method, path, &headers, body.to_owned())).await.unwrap()
    }

    /// The settled decision record of an answer.
    pub(crate) async fn decision(&self, answer: &Answer) -> Value {
        let id = answer.header("x-outcrop-request-id");
        assert!(!id.is_empty(), "no request id: {answer:?}");
        let path = format!("/admin/v1/decisions/{id}");
        eventually("the decision record", async || {
            let found = self.admin(&path).await;
            (found.status == 200).then(|| found.json())
        })
        .await
    }

    /// The newest decision record, once it satisfies `wanted`.
    pub(crate) async fn newest_decision(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually("a decision record", async || {
            let found = self.admin("/admin/v1/decisions?limit=1").await.json();
            Some(found[0].clone()).filter(|decision| wanted(decision))
        })
        .await
    }

    /// Makes a path's target fail in one way.
    pub(crate) async fn break_path(&self, path: &str, fault: Fault) {
        self.lab.script(target(path), Script::faulty([fault])).await.unwrap();
    }

    pub(crate) async fn take_down(&self, path: &str) {
        self.lab.script(target(path), Script::down()).await.unwrap();
    }

    pub(crate) async fn heal(&self, path: &str) {
        self.lab.heal(target(path)).await.unwrap();
    }

    /// What the target of a path saw of calls; handshakes and lists of MCP are left out.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let all = self.lab.requests(target(path)).unwrap();
        let is_call =
            |seen: &Seen| path != "desk" || seen.headers.get("mcp-method").is_none_or(|m| m == "tools/call");
        all.into_iter().filter(is_call).collect()
    }

    /// Billing records of a path's target, once there are at least so many.
    pub(crate) async fn billed(&self, path: &str, count: u64) -> Vec<Record> {
        let billing = self.lab.target(target(path)).unwrap().billing();
        within("billing records", billing.reached(count)).await;
        billing.records()
    }

    /// How often a path's model ran, as far as it is known by this moment.
    pub(crate) fn executions(&self, path: &str) -> usize {
        let records = self.lab.target(target(path)).unwrap().billing().records();
        records.iter().filter(|record| record.executed).count()
    }
}

/// The lab's name for the target behind a path.
pub(crate) fn target(path: &str) -> &str {
    match path {
        "oai" => "openai",
        "ant" => "anthropic",
        other => other,
    }
}

/// What the target of `path` answers to a request for `tokens` tokens.
pub(crate) fn simulated(path: &str, tokens: usize) -> String {
    let words: Vec<String> = (1..=tokens).map(|n| format!("tok-{n}")).collect();
    format!("Simulated answer from {}: {}", target(path), words.join(" "))
}

/// Credentials that the simulated Bedrock accepts.
pub(crate) fn lab_keys() -> CredentialSpec {
    CredentialSpec::StaticKeys {
        id: outcrop_lab::bedrock::ACCESS_KEY_ID.into(),
        secret: outcrop_lab::bedrock::SECRET_ACCESS_KEY.to_owned().into(),
        session: None,
    }
}

/// Awaits what must happen soon.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it never came: {what}"))
}

/// Asks again and again until there is an answer, for what no event tells of.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, asking).await
}

/// The configuration file of a gateway in front of `lab`.
pub(crate) fn text(lab: &Lab, setup: &Setup) -> String {
    let url = |name: &str| lab.url(name).unwrap();
    let Setup { auth, listen, store, limits, desk, more, .. } = setup;
    format!(
        r#"
        [listen]
        data = "127.0.0.1:0"
        admin = "127.0.0.1:0"
        {listen}
        [auth]
        {auth}
        [store]
        {store}
        [limits]
        {limits}
        [[path]]
        name = "fra"
        kind = "bedrock"
        region = "eu-central-1"
        endpoint = "{fra}"
        destinations = ["eu-central-1", "eu-north-1", "eu-west-3"]
        [[path]]
        name = "dub"
        kind = "bedrock"
        region = "eu-west-1"
        endpoint = "{dub}"
        destinations = ["eu-central-1", "eu-north-1", "eu-west-3"]
        [[path]]
        name = "desk"
        kind = "mcp"
        url = "{mcp}"
        region = "eu-central-1"
        {desk}
        [[path]]
        name = "oai"
        kind = "openai"
        url = "{openai}"
        key = "{openai_key}"
        [[path]]
        name = "ant"
        kind = "anthropic"
        url = "{anthropic}"
        key = "{anthropic_key}"
        {models}
        {operations}
        [[model]]
        name = "vectors"
        targets = [{{ path = "oai", id = "text-embedding-3-small" }}]
        [[model]]
        name = "titan"
        targets = [{{ path = "fra", id = "amazon.titan-embed-text-v2:0" }}]
        {more}
        {prices}
        "#,
        fra = url("fra"),
        dub = url("dub"),
        mcp = url("desk"),
        openai = url("openai"),
        openai_key = outcrop_lab::openai::API_KEY,
        anthropic = url("anthropic"),
        anthropic_key = outcrop_lab::anthropic::API_KEY,
        models = models(),
        operations = operations(),
        prices = prices(),
    )
}

/// What the lab bills, family by family; `m` stands for models that are not there.
fn prices() -> String {
    let families =
        ["claude-sonnet-4-5", "claude-3-haiku", "nova-lite", "titan-embed-text-v2", "gpt-4o-mini", "sonnet"];
    let families = families.map(|family| (family, format!("*{family}*")));
    let whole = ["text-embedding-3-small", "m"].map(|model| (model, model.to_owned()));
    let usd = |nano: u64| format!("{}.{:09} USD/ktok", nano / 1_000_000_000, nano % 1_000_000_000);
    let mut text = String::new();
    for (model, glob) in families.into_iter().chain(whole) {
        let outcrop_lab::prices::Price { input, output, cache_read, cache_write } =
            outcrop_lab::prices::of_model(model);
        let [input, output, read, write] = [input, output, cache_read, cache_write].map(usd);
        text.push_str(&format!(
            "[[price]]\nmodel = \"{glob}\"\ninput = \"{input}\"\noutput = \"{output}\"\n\
             cache_read = \"{read}\"\ncache_write = \"{write}\"\n"
        ));
    }
    text
}

fn models() -> String {
    let target = |(path, id): &(&str, &str)| format!("{{ path = \"{path}\", id = \"{id}\" }}");
    let all: Vec<String> = PATHS.iter().map(target).collect();
    let mut text = format!("[[model]]\nname = \"any\"\ntargets = [{}]\n", all.join(", "));
    for one in &PATHS {
        text.push_str(&format!("[[model]]\nname = \"on-{}\"\ntargets = [{}]\n", one.0, target(one)));
    }
    text
}

fn operations() -> String {
    let mut text = String::new();
    for (first, _) in PATHS {
        for (second, _) in PATHS.iter().filter(|(second, _)| *second != first) {
            text.push_str(&format!(
                "[[operation]]\nname = \"{first}-{second}\"\norder = [\"{first}\", \"{second}\"]\n"
            ));
        }
    }
    text
}
