//! The end of a gateway: what runs is finished, nothing further is begun.

use http::Method;
use http_body_util::BodyExt as _;
use outcrop_lab::script::{Fault, FaultKind, Script, Spread};
use tokio::net::TcpStream;

use crate::{
    api::Api,
    client,
    house::{House, eventually, simulated, within},
};

fn slow() -> Script {
    Script { pace_ms: Some(Spread::Fixed(10.0)), ..Script::default() }
}

/// A stream of which the first piece came.
async fn begun(house: &House, api: Api, tokens: usize) -> http::Response<hyper::body::Incoming> {
    let body = api.body("on-fra", &format!("[[tokens={tokens}]]"), true).to_string();
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(api.headers());
    let route = api.route("on-fra", true);
    let opening = client::open(house.data(), Method::POST, &route, &headers, body);
    within("the head", opening).await.unwrap()
}

#[tokio::test]
async fn running_streams_are_finished() {
    let house = House::start().await;
    house.lab.script("fra", slow()).await.unwrap();
    let apis = [Api::OpenAi, Api::Anthropic, Api::Converse, Api::Invoke];
    let mut streams = Vec::new();
    for api in apis {
        streams.push((api, begun(&house, api, 60).await));
    }
    let House { lab, running, .. } = house;
    let reading = async {
        for (api, stream) in streams {
            let answer = client::read(stream).await;
            let told = api.hear(&answer);
            assert!(told.text == simulated("fra", 60) && told.is_complete(api), "{api:?}: {told:?}");
        }
    };
    let (finished, ()) = within("the drain", async { tokio::join!(running.stop(), reading) }).await;
    assert!(finished);
    drop(lab);
}

#[tokio::test]
async fn streams_of_http2_are_finished_too() {
    let house = House::start().await;
    house.lab.script("fra", slow()).await.unwrap();
    let mut sender = client::connect_h2(house.data()).await;
    let body = Api::Converse.body("on-fra", "[[tokens=60]]", true);
    let request = client::post_h2(house.data(), &Api::Converse.route("on-fra", true), &[], &body);
    let stream = within("the head", sender.send_request(request)).await.unwrap();
    let House { lab, running, .. } = house;
    let (finished, answer) =
        within("the drain", async { tokio::join!(running.stop(), client::read(stream)) }).await;
    assert!(finished && Api::Converse.hear(&answer).is_complete(Api::Converse));
    drop(lab);
}

#[tokio::test]
async fn whole_answers_are_finished() {
    let house = House::start().await;
    let late = Script { latency_ms: Some(Spread::Fixed(300.0)), ..Script::default() };
    house.lab.script("fra", late).await.unwrap();
    let address = house.data();
    let body = Api::OpenAi.body("on-fra", "[[tokens=3]]", false).to_string();
    let asking = tokio::spawn(async move {
        let headers = [("content-type", "application/json")];
        client::send(address, Method::POST, "/v1/chat/completions", &headers, body).await
    });
    eventually("the call arrives", async || (!house.seen("fra").is_empty()).then_some(())).await;
    let House { lab, running, .. } = house;
    assert!(within("the drain", running.stop()).await);
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("fra", 3));
    drop(lab);
}

#[tokio::test]
async fn no_further_connection_is_taken() {
    let house = House::start().await;
    house.lab.script("fra", slow()).await.unwrap();
    let stream = begun(&house, Api::OpenAi, 100).await;
    let idle = TcpStream::connect(house.data()).await.unwrap();
    let address = house.data();
    let admin = house.running.admin;
    let House { lab, running, .. } = house;
    let meanwhile = async {
        eventually("the listener closes", async || TcpStream::connect(address).await.is_err().then_some(()))
            .await;
        let ready = client::send(admin, Method::GET, "/readyz", &[], "").await.unwrap();
        assert_eq!(ready.status, 503, "{ready:?}");
        assert!(ready.text().contains("draining"), "{ready:?}");
        let answer = client::read(stream).await;
        assert!(Api::OpenAi.hear(&answer).is_complete(Api::OpenAi));
    };
    let (finished, ()) = within("the drain", async { tokio::join!(running.stop(), meanwhile) }).await;
    assert!(finished, "an idle connection does not hold the drain up");
    drop((idle, lab));
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let house = House::limited("drain_max = \"300ms\"").await;
    house.break_path("fra", Fault::new(FaultKind::HangStream).after(5)).await;
    let mut stream = begun(&house, Api::Converse, 20).await.into_body();
    within("a piece", stream.frame()).await.unwrap().unwrap();
    let House { lab, running, .. } = house;
    let finished = within("the drain", running.stop()).await;
    assert!(!finished, "what was cut is told");
    drop(lab);
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let house = House::start().await;
    assert_eq!(Api::OpenAi.ask(&house, "on-desk", "hi", false, &[]).await.status, 200);
    let admin = house.running.admin;
    let House { lab, running, .. } = house;
    assert!(within("the drain", running.stop()).await);
    assert!(TcpStream::connect(admin).await.is_err(), "the admin listener is gone as well");
    drop(lab);
}
