//! What is done to the gateway itself while a scenario is played, and what it claims at the end.

use std::{sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PlayError, Stage, remixed};
use crate::{
    certify::{
        evidence::{Claims, Ordered},
        gateway::Gateway,
        scenario::{Act, Scenario},
    },
    load::call::{Call, Mix},
};

/// How long the gateway's books may take to be written after the last answer.
const BOOKS_MAX: Duration = Duration::from_secs(5);
/// Between two looks at them.
const BOOKS_LOOK: Duration = Duration::from_millis(150);

/// Makes the scenario's keys, and a mix whose headers carry them.
pub(super) async fn with_keys(scenario: &Scenario, gateway: &Gateway) -> Result<Arc<Mix>, PlayError> {
    let mut made: Vec<(String, String)> = Vec::new();
    for key in &scenario.keys {
        let order = json!({"name": key.name, "team": key.team});
        let answer = gateway.operator(Method::POST, "/admin/v1/keys", &order).await?;
        made.push((format!("{{{}}}", key.name), answer["key"].as_str().unwrap_or_default().to_owned()));
    }
    let filled = |value: &String| {
        made.iter().fold(value.clone(), |value, (name, secret)| value.replace(name.as_str(), secret))
    };
    Ok(remixed(&scenario.mix, |call| Call {
        headers: call.headers.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
        ..call.clone()
    })?)
}

impl Stage<'_> {
    /// Gives the orders at their times.
    pub(super) async fn orders(&self, origin: Instant, given: &Mutex<Vec<Ordered>>) -> Result<(), PlayError> {
        let Some((_, gateway)) = self.house else { return Ok(()) };
        for order in &self.scenario.orders {
            tokio::time::sleep_until(origin + order.at).await;
            let at_s = origin.elapsed().as_secs_f64();
            match order.act {
                Act::Stop => {
                    let body = json!({"scope": "all", "level": "stop", "reason": "certification"});
                    gateway.operator(Method::POST, "/admin/v1/stop", &body).await?;
                }
                Act::Resume => {
                    gateway.operator(Method::POST, "/admin/v1/resume", &json!({"scope": "all"})).await?;
                }
                Act::Kill => gateway.kill_and_start().await?,
            }
            given.lock().push(Ordered { act: order.act, at_s, done_s: origin.elapsed().as_secs_f64() });
        }
        Ok(())
    }

    /// What the gateway says of its books once they are written; nothing where it says nothing.
    pub(super) async fn claims(&self) -> Option<Claims> {
        let (_, gateway) = self.house?;
        let deadline = Instant::now() + BOOKS_MAX;
        let mut last = read(gateway).await?;
        while Instant::now() < deadline {
            tokio::time::sleep(BOOKS_LOOK).await;
            let next = read(gateway).await?;
            let is_settled = next.accounts().all(|account| account["pending"] == 0);
            if is_settled && next.spend == last.spend && next.alerts == last.alerts {
                return Some(next);
            }
            last = next;
        }
        Some(last)
    }
}

async fn read(gateway: &Gateway) -> Option<Claims> {
    let get = async |path: &str| gateway.operator(Method::GET, path, &Value::Null).await.ok();
    let mut spend = Vec::new();
    for group in Claims::GROUPS {
        // A rolling `to` would make every answer another one.
        let rows = get(&format!("/admin/v1/spend?by={group}")).await.map(|mut answer| answer["rows"].take());
        spend.push(rows.unwrap_or_default());
    }
    Some(Claims {
        budgets: get("/admin/v1/budgets").await?,
        spend,
        alerts: get("/admin/v1/alerts")
            .await
            .map(|mut answer| answer["crossings"].take())
            .unwrap_or_default(),
        impact: get("/admin/v1/impact").await.unwrap_or_default(),
    })
}
