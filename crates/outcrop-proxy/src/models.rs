//! `GET /v1/models`: what the caller may use, in a shape that the OpenAI and the Anthropic SDK both
//! read.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};
use outcrop_core::failure::{Code, Failure};
use serde_json::{Value, json};

use crate::authenticate::Caller;
use crate::body::Body;
use crate::gateway::Snapshot;

/// The list, or one of its entries.
pub(crate) fn models(
    snapshot: &Snapshot,
    caller: &Caller,
    one: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let names = usable(snapshot, caller);
    let body = match one {
        None => {
            let (first, last) = (names.first(), names.last());
            let data: Vec<Value> = names.iter().map(|name| entry(name)).collect();
            json!({"object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last})
        }
        Some(id) if names.contains(&id) => entry(id),
        Some(_) => {
            return Err(Failure::refusal(
                Code::UnknownModel,
                "This model is not known here, or your key may not use it; GET /v1/models lists yours.",
            ));
        }
    };
    Ok(json_response(&body))
}

/// Aliases the caller may use, sorted.
pub(crate) fn usable<'a>(snapshot: &'a Snapshot, caller: &Caller) -> Vec<&'a str> {
    let routes = &snapshot.routes;
    let on = routes.models.keys().map(|k| &**k).filter(|n| !routes.off.models.contains(*n));
    let mut names: Vec<&str> = on.filter(|n| caller.may_use(n, true)).collect();
    names.sort_unstable();
    names
}

fn entry(name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "outcrop",
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    })
}

fn json_response(body: &Value) -> Response<Body> {
    let bytes = body.to_string();
    let length = bytes.len();
    let mut response = Response::new(Body::whole(bytes.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
