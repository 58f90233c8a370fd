//! The control API: scripts, billing records and request logs over HTTP with JSON.
//!
//! For tests in any language; it is not authenticated and only ever listens on the lab's own address.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    billing::{Record, Totals},
    lab::{LabError, Running, Shared},
    script::Script,
};

/// How long a question may wait for records at most.
const WAIT_MS_MAX: u64 = 60_000;

/// Binds and serves the control API until stopped.
pub(crate) async fn open(
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = routes().with_state(shared);
    tasks.spawn(async move {
        let serving = async { axum::serve(listener, router).await };
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "control API ended");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(address)
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/targets", get(list_targets))
        .route("/targets/{name}/script", get(read_script).put(write_script).delete(heal))
        .route("/targets/{name}/requests", get(list_requests).delete(forget_requests))
        .route("/billing", get(all_billing).delete(forget_billing))
        .route("/billing/{name}", get(billing))
        .route("/reset", post(reset))
}

impl IntoResponse for LabError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::UnknownTarget(_) => StatusCode::NOT_FOUND,
            Self::Script(_) => StatusCode::BAD_REQUEST,
            Self::Listen { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}

type Lab = State<Arc<Shared>>;

async fn list_targets(State(lab): Lab) -> Json<Value> {
    let describe = |running: &Running| {
        let listening = running.listening();
        json!({
            "name": listening.name,
            "what": listening.what,
            "url": listening.url,
            "down": running.target.script().is_down(),
        })
    };
    Json(lab.targets().map(describe).collect())
}

async fn read_script(State(lab): Lab, Path(name): Path<String>) -> Result<Json<Script>, LabError> {
    Ok(Json(Script::clone(&*lab.running(&name)?.target.script())))
}

async fn write_script(
    State(lab): Lab,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Script>, Response> {
    // Whatever media type it claims: `curl -d` claims a form.
    let script: Script = serde_json::from_slice(&body).map_err(|error| {
        let error = json!({"error": error.to_string()});
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    })?;
    lab.script(&name, script.clone()).await.map_err(IntoResponse::into_response)?;
    Ok(Json(script))
}

async fn heal(State(lab): Lab, Path(name): Path<String>) -> Result<StatusCode, LabError> {
    lab.script(&name, Script::default()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_requests(State(lab): Lab, Path(name): Path<String>) -> Result<Json<Value>, LabError> {
    Ok(Json(json!({"requests": lab.running(&name)?.target.requests().list()})))
}

async fn forget_requests(State(lab): Lab, Path(name): Path<String>) -> Result<StatusCode, LabError> {
    lab.running(&name)?.target.requests().clear();
    Ok(StatusCode::NO_CONTENT)
}

async fn all_billing(State(lab): Lab) -> Json<Value> {
    let records: Vec<Record> = lab.targets().flat_map(|running| running.target.billing().records()).collect();
    Json(statement(&records, lab.totals()))
}

/// Waiting for records that are still being made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wait {
    /// Answer once there are so many records.
    at_least: u64,
    /// But no later than this.
    wait_ms: u64,
}

async fn billing(
    State(lab): Lab,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<Value>, LabError> {
    let billing = lab.running(&name)?.target.billing();
    let patience = Duration::from_millis(wait.wait_ms.min(WAIT_MS_MAX));
    // Too few records after the wait are shown as they are.
    let _ = tokio::time::timeout(patience, billing.reached(wait.at_least)).await;
    Ok(Json(statement(&billing.records(), billing.totals())))
}

fn statement(records: &[Record], totals: Totals) -> Value {
    json!({"records": records, "totals": totals})
}

async fn forget_billing(State(lab): Lab) -> StatusCode {
    for running in lab.targets() {
        running.target.billing().clear();
    }
    StatusCode::NO_CONTENT
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reset {
    seed: Option<u64>,
}

/// An empty body resets with the seed in use.
async fn reset(State(lab): Lab, body: axum::body::Bytes) -> Result<StatusCode, Response> {
    let reset: Reset = if body.is_empty() {
        Reset::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let error = json!({"error": error.to_string()});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        })?
    };
    lab.reset(reset.seed).await;
    Ok(StatusCode::NO_CONTENT)
}
