//! Callers and upstreams that mean harm: slow heads, crafted paths, endless lines.

use std::time::Duration;

use outcrop_lab::script::{Script, Spread};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    api::Api,
    client,
    house::{House, Setup, eventually, simulated, within},
};

/// A gateway that waits for the head of a request only shortly.
async fn impatient() -> House {
    let adjust = |checked: &mut outcrop::config::Checked| {
        checked.listen.limits.header_read_max = Duration::from_millis(200);
        checked.listen.limits.idle_max = Duration::from_millis(200);
    };
    House::set_up(Setup { adjust, ..Setup::default() }).await
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let house = impatient().await;
    for beginning in ["", "G", "GET /v1/models HT", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(house.data()).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        within(beginning, client::hear(&mut stream)).await;
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let house = impatient().await;
    let mut stream = TcpStream::connect(house.data()).await.unwrap();
    let dripping = async {
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the gateway hangs up on a head without end", dripping).await;
    assert_eq!(house.get("/v1/models").await.status, 200, "others are served meanwhile");
}

#[tokio::test]
async fn a_kept_connection_that_falls_silent_is_closed() {
    let house = impatient().await;
    let mut stream = TcpStream::connect(house.data()).await.unwrap();
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    let heard = within("the end of the connection", client::hear(&mut stream)).await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
}

#[tokio::test]
async fn a_long_stream_outlives_the_wait_for_a_further_request() {
    let house = impatient().await;
    let pace = Script { pace_ms: Some(Spread::Fixed(20.0)), ..Script::default() };
    house.lab.script("fra", pace).await.unwrap();
    let answer = Api::Converse.ask(&house, "on-fra", "[[tokens=40]]", true, &[]).await;
    assert_eq!(Api::Converse.hear(&answer).text, simulated("fra", 40));
}

#[tokio::test]
async fn a_model_id_is_one_segment_whatever_it_hides() {
    let house = House::start().await;
    for id in [
        "..%2f..%2fadmin",
        "%2e%2e%2fx",
        "a%252f..%252fb",
        "on-fra%2f..%2fon-dub",
        "on-fra%3fx=1",
        "on-fra%23",
        "on-fra%5c..%5cx",
        "on-fra%0d%0ax-evil:%201",
        "on-fra%00",
        "on-fra%ff",
        "on-fra%20",
        "a%2f%2fb",
        ".",
        "..",
        "",
    ] {
        let body = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}]}";
        let request = format!(
            "POST /model/{id}/converse HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let heard = within(id, client::say(house.data(), request.as_bytes())).await;
        assert!(heard.starts_with("HTTP/1.1 400 "), "{id}: {heard}");
        assert!(heard.contains("\"code\":\"invalid_request\""), "{id}: {heard}");
    }
    assert!(house.seen("fra").is_empty() && house.seen("dub").is_empty());
}

#[tokio::test]
async fn an_encoded_id_reaches_the_upstream_encoded_once_and_signed() {
    let house = House::start().await;
    let arn = "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
    let answer = Api::Converse.ask(&house, arn, "[[tokens=3]]", false, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.seen("fra")[0].path, format!("/model/{arn}/converse"));
}

#[tokio::test]
async fn smuggled_requests_find_no_second_reader() {
    let house = House::start().await;
    let both = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\n\
                transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let twice = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\n\
                 content-length: 6\r\n\r\n{}   GET /v1/models HTTP/1.1\r\n\r\n";
    for request in [both, twice] {
        let mut stream = TcpStream::connect(house.data()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let heard = within("the end", client::hear(&mut stream)).await;
        assert!(heard.starts_with("HTTP/1.1 400 ") && !heard.contains("\"object\":\"list\""), "{heard}");
    }
}

/// An upstream that answers with a head and then bytes without end or sense; tells how many it could send.
async fn endless(head: &'static str, piece: &'static [u8]) -> (u16, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut sent = 0;
        if piece.is_empty() {
            return sent;
        }
        while stream.write_all(piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    });
    (port, serving)
}

/// Asks an upstream that sends without end; the next target must answer.
async fn endless_is_given_up(head: &'static str, piece: &'static [u8], stream: bool) {
    let (port, serving) = endless(head, piece).await;
    let house = House::with(&format!(
        "[[path]]\nname = \"endless\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:{port}/v1\"\nkey = \"k\"\n\
         [[model]]\nname = \"hostile\"\ntargets = [{{ path = \"endless\", id = \"m\" }}, {{ path = \"oai\", id = \"gpt-4o-mini\" }}]"
    ))
    .await;
    let first = [("x-outcrop-path", "endless")];
    let answer = Api::OpenAi.ask(&house, "hostile", "[[tokens=3]]", stream, &first).await;
    assert_eq!(Api::OpenAi.hear(&answer).text, simulated("oai", 3), "{answer:?}");
    let sent = within("the endless upstream is left", serving).await.unwrap();
    // Socket buffers come on top of what the gateway takes.
    assert!(sent < 100 * 1024 * 1024, "{sent} bytes were taken");
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

#[tokio::test]
async fn a_line_without_end_is_given_up() {
    endless_is_given_up(STREAM, &[b'x'; 8_192], true).await;
}

#[tokio::test]
async fn a_stream_of_comments_is_given_up() {
    endless_is_given_up(STREAM, b": still here, still here, still here, still here\n\n", true).await;
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    endless_is_given_up(WHOLE, &[b' '; 8_192], false).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let bait = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/latest/meta-data", bait.local_addr().unwrap());
    let head =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let (port, _serving) = endless(head.leak(), b"").await;
    let house = House::with(&format!(
        "[[path]]\nname = \"bait\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:{port}/v1\"\nkey = \"k\"\n\
         [[model]]\nname = \"hostile\"\ntargets = [{{ path = \"bait\", id = \"m\" }}, {{ path = \"oai\", id = \"gpt-4o-mini\" }}]"
    ))
    .await;
    let first = [("x-outcrop-path", "bait")];
    let answer = Api::OpenAi.ask(&house, "hostile", "[[tokens=3]]", false, &first).await;
    assert_eq!(answer.header("x-outcrop-path"), "oai", "{answer:?}");
    let visited = tokio::time::timeout(Duration::from_millis(1), bait.accept()).await;
    assert!(visited.is_err(), "the redirect was followed");
}

#[tokio::test]
async fn a_request_that_is_left_early_frees_its_place() {
    let house = House::limited("connections_max = 2").await;
    for _ in 0..6 {
        let mut stream = TcpStream::connect(house.data()).await.unwrap();
        stream
            .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n")
            .await
            .unwrap();
        drop(stream);
    }
    eventually("a free place", async || (house.get("/v1/models").await.status == 200).then_some(())).await;
}
