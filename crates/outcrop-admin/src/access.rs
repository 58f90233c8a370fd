//! Who may do what at the operator's API: the one table of routes, and the check that reads it.
//!
//! What is not in the table is denied, whoever asks and by whatever door. At the operator's socket
//! everybody is an admin, because the file's permission already said who may; at the network door a key
//! with the role of the route is asked for, unless the gateway is open.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use outcrop_core::Role;
use outcrop_store::Administrator;

use crate::local::Door;
use crate::refusal::refuse;
use crate::view::View;

/// Whom a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody who reaches the listener.
    Nothing,
    /// Those who may act in this role.
    As(Role),
    /// Those at the operator's socket, and nobody over the network.
    TheSocket,
}

/// A route: method, path with `{}` for one segment, and whom it answers.
pub type Route = (Method, &'static str, Need);

/// Every route there is.
pub const ROUTES: &[Route] = &[
    (Method::GET, "/", Need::Nothing),
    (Method::GET, "/healthz", Need::Nothing),
    (Method::GET, "/readyz", Need::Nothing),
    (Method::GET, "/metrics", Need::Nothing),
    (Method::GET, "/admin/v1/paths", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/targets", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/load", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/impact", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/balance", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/decisions", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/decisions/{}", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/explain", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/targets/{}/force", Need::As(Role::Operator)),
    (Method::GET, "/admin/v1/flags", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/flags", Need::As(Role::Operator)),
    (Method::GET, "/admin/v1/recommendations", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/stop", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/stops", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/stop", Need::As(Role::Operator)),
    (Method::POST, "/admin/v1/resume", Need::As(Role::Operator)),
    (Method::GET, "/admin/v1/keyed", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/keyed/clear", Need::As(Role::Operator)),
    (Method::GET, "/admin/v1/keys", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/keys", Need::As(Role::Admin)),
    (Method::DELETE, "/admin/v1/keys/{}", Need::As(Role::Admin)),
    (Method::GET, "/admin/v1/budgets", Need::As(Role::Viewer)),
    (Method::PUT, "/admin/v1/budgets", Need::As(Role::Operator)),
    (Method::POST, "/admin/v1/budgets", Need::As(Role::Operator)),
    (Method::GET, "/admin/v1/spend", Need::As(Role::Viewer)),
    (Method::GET, "/admin/v1/alerts", Need::As(Role::Viewer)),
    (Method::POST, "/admin/v1/reconcile", Need::As(Role::Operator)),
    (Method::POST, "/admin/v1/takeover", Need::TheSocket),
    (Method::POST, "/admin/v1/clock/confirm", Need::As(Role::Operator)),
];

/// What the table says of a request; `None` where it says nothing.
fn find(method: &Method, path: &str) -> Option<Need> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let fits = |pattern: &str| {
        let mut segments = path.split('/');
        let all = pattern.split('/').all(|wanted| {
            segments.next().is_some_and(|given| given == wanted || (wanted == "{}" && !given.is_empty()))
        });
        all && segments.next().is_none()
    };
    ROUTES.iter().find(|(of, pattern, _)| of == method && fits(pattern)).map(|(_, _, need)| *need)
}

/// Lets a request pass that the table allows, with the `Administrator` who makes it.
pub(crate) async fn check(State(view): State<Arc<dyn View>>, mut request: Request, next: Next) -> Response {
    let Some(needed) = find(request.method(), request.uri().path()) else {
        return refuse(StatusCode::NOT_FOUND, "There is nothing here; GET / lists what is.");
    };
    let who = match (needed, request.extensions().get::<Door>()) {
        (Need::Nothing, _) => {
            Ok(Administrator { role: Role::Viewer, ..Administrator::of_the_machine("anybody") })
        }
        (Need::As(_) | Need::TheSocket, Some(Door::Operator)) => {
            Ok(Administrator::of_the_machine("operator"))
        }
        (Need::As(_), Some(Door::Network)) if !view.asks_for_keys() => {
            Ok(Administrator::of_the_machine("anonymous"))
        }
        (Need::TheSocket, Some(Door::Network) | None) => {
            let text = "This is asked at the operator's socket only.";
            Err(Box::new(refuse(StatusCode::FORBIDDEN, text)))
        }
        (Need::As(role), Some(Door::Network) | None) => known(&*view, &request, role),
    };
    match who {
        Ok(administrator) => {
            request.extensions_mut().insert(administrator);
            next.run(request).await
        }
        Err(refusal) => *refusal,
    }
}

/// The holder of the request's key, if the key has that role.
fn known(view: &dyn View, request: &Request, role: Role) -> Result<Administrator, Box<Response>> {
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = value.and_then(|value| value.split_once(' '));
    let key = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    let Some(administrator) = key.and_then(|key| view.administrator(key)) else {
        let text = format!(
            "This needs a key with role {}, as `Authorization: Bearer …`; on the gateway's machine the \
             operator's socket needs none.",
            role.label()
        );
        let mut answer = refuse(StatusCode::UNAUTHORIZED, &text);
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Err(Box::new(answer));
    };
    if administrator.role.may_act_as(role) {
        return Ok(administrator);
    }
    let text = format!("This key has role {}; {} is needed.", administrator.role.label(), role.label());
    Err(Box::new(refuse(StatusCode::FORBIDDEN, &text)))
}

#[cfg(test)]
mod tests;
