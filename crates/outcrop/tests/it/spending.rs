//! What a request may do near the end of a budget, beside being refused.

use outcrop_store::Pepper;
use serde_json::{Value, json};

use crate::api::{self, Api};
use crate::house::{House, Setup};

/// Models of one path each: the dear one, and the one that stands in for it.
const STAND_IN: &str = "[[model]]\nname = \"dear\"\nstand_in = \"on-oai\"\n\
    targets = [{ path = \"ant\", id = \"claude-sonnet-4-5\" }]\n\
    [[budget]]\nscope = \"all\"\nlimit = \"20 requests\"\ncarve_out = \"0%\"\n";

async fn ask(house: &House, model: &str, priority: &str) -> (u16, String) {
    let headers = [("x-outcrop-operation", "emergency"), ("x-outcrop-priority", priority)];
    let answer = Api::OpenAi.ask(house, model, "hi", false, &headers).await;
    (answer.status, answer.header("x-outcrop-path").to_owned())
}

#[tokio::test]
async fn near_the_end_of_a_budget_the_stand_in_answers_but_critical_requests_keep_their_model() {
    let house = House::with(STAND_IN).await;
    for _ in 0..19 {
        assert_eq!(ask(&house, "dear", "high").await, (200, "ant".to_owned()));
    }
    // 19 of 20 are 95 %; the level is heard with the next answer of the store.
    crate::house::eventually("the level is heard", async || {
        let metrics = house.running.gateway.ledger().accounts();
        metrics.iter().any(|view| view.balance.posted == 19).then_some(())
    })
    .await;
    let before = house.billed("openai", 0).await.len();
    assert_eq!(ask(&house, "dear", "high").await, (200, "oai".to_owned()));
    assert_eq!(house.billed("openai", 1).await.len(), before + 1);
    assert_eq!(ask(&house, "dear", "critical").await.0, 402);
}

#[tokio::test]
async fn critical_requests_keep_their_model_while_there_is_room() {
    let house = House::with(&STAND_IN.replace("20 requests", "40 requests")).await;
    for _ in 0..38 {
        ask(&house, "dear", "high").await;
    }
    crate::house::eventually("the level is heard", async || {
        let metrics = house.running.gateway.ledger().accounts();
        metrics.iter().any(|view| view.balance.posted == 38).then_some(())
    })
    .await;
    assert_eq!(ask(&house, "dear", "critical").await, (200, "ant".to_owned()));
    assert_eq!(ask(&house, "dear", "high").await, (200, "oai".to_owned()));
}

#[tokio::test]
async fn a_user_of_the_body_has_an_account_as_one_of_a_header_has() {
    let budget = "[[budget]]\nscope = \"user:*\"\nlimit = \"2 requests\"\ncarve_out = \"0%\"\n";
    let house = House::with(budget).await;
    let ask = async |user: Option<&str>, header: Option<&str>| {
        let mut body: Value = Api::OpenAi.body("on-oai", "hi", false);
        if let Some(user) = user {
            body["user"] = json!(user);
        }
        let headers: Vec<_> = header.map(|user| ("x-outcrop-user", user)).into_iter().collect();
        house.post("/v1/chat/completions", &headers, &body).await.status
    };
    assert_eq!(ask(Some("ann"), None).await, 200);
    assert_eq!(ask(None, Some("ann")).await, 200);
    assert_eq!(ask(Some("ann"), None).await, 402);
    assert_eq!(ask(Some("bob"), None).await, 200);
    // Who names nobody does not get around it: nobody is one user.
    assert_eq!([ask(None, None).await, ask(None, None).await, ask(None, None).await], [200, 200, 402]);
}

#[tokio::test]
async fn calls_of_federated_tools_are_counted() {
    let budget = "[[budget]]\nscope = \"tool:*\"\nlimit = \"2 tool calls\"\ncarve_out = \"0%\"\n\
        [[price]]\nmodel = \"echo\"\npath = \"desk\"\nrequest = \"0.01 USD\"\ninput = \"0 USD/Mtok\"\n\
        output = \"0 USD/Mtok\"\n";
    let house = House::set_up(Setup { more: budget.to_owned(), ..Setup::default() }).await;
    let answers = [api::echo(&house).await, api::echo(&house).await, api::echo(&house).await];
    let codes = answers.map(|answer| answer.text().contains("budget_exceeded"));
    assert_eq!(codes, [false, false, true]);
    let totals = house.running.gateway.ledger().totals();
    assert_eq!((totals.settled, totals.posted_nusd), (2, 20_000_000));
}

#[tokio::test]
async fn a_key_can_have_its_budget_refusals_as_429() {
    let pepper = "0123456789abcdef0123456789abcdef";
    let hash = |key: &str| {
        let bytes = Pepper::new(pepper.as_bytes()).hash(key);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let more = format!(
        "[[key]]\nname = \"old\"\nhash = \"oc_00b1:{}\"\nbudget_status = 429\n\
         [[key]]\nname = \"new\"\nhash = \"oc_00b2:{}\"\n\
         [[budget]]\nscope = \"all\"\nlimit = \"0 USD\"\n",
        hash("oc_00b1_secret"),
        hash("oc_00b2_secret")
    );
    let auth = format!("mode = \"keys\"\npepper = \"{pepper}\"");
    let house = House::set_up(Setup { auth, more, ..Setup::default() }).await;
    for (key, expected) in [("oc_00b1_secret", 429), ("oc_00b2_secret", 402)] {
        for api in [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke] {
            let answer = api.ask(&house, "on-ant", "hi", false, &[("x-api-key", key)]).await;
            let (_, code) = api.error(&answer);
            assert_eq!((answer.status, code.as_str()), (expected, "budget_exceeded"), "{api:?}");
            assert!(answer.text().contains("0.00 USD left"), "{answer:?}");
        }
    }
}
