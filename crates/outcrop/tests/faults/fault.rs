//! What happens to the preferred target, and how it heals.

use serde_json::json;

use crate::gateway::Gateway;
use crate::lab::signal;
use crate::scene::{Site, Way};

/// A fault of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its process is killed: connections are refused.
    Killed,
    /// Its process is stopped: connections are accepted by the kernel, and nothing answers.
    Stopped,
    /// Its link drops every packet; the connections to it are warm, over HTTP/1.1.
    Cut,
    /// The same over HTTP/2.
    CutHttp2,
    /// Its link drops what it answers, and lets requests through.
    CutOneWay,
    /// It resets every connection as soon as it has read the request.
    Reset,
    /// It answers 429, and names a time.
    Throttled,
    /// Half of its answers are resets.
    Flapping,
    /// It shows a certificate of nobody's.
    BadCertificate,
    /// It answers with random bytes.
    Garbage,
    /// It takes every credential for an expired one.
    Expired,
    /// It knows no session (MCP).
    Forgetful,
    /// The server that the gateway started itself is killed (MCP over stdio).
    ChildKilled,
    /// The same is stopped.
    ChildStopped,
}

impl Fault {
    /// Whether the target lies behind a link that can be cut.
    pub(crate) fn needs_link(self) -> bool {
        matches!(self, Self::Cut | Self::CutHttp2 | Self::CutOneWay)
    }

    /// Whether the gateway starts the target itself.
    pub(crate) fn needs_child(self) -> bool {
        matches!(self, Self::ChildKilled | Self::ChildStopped)
    }

    pub(crate) async fn inject(self, site: &mut Site, gateway: &Gateway, way: Way) {
        let script = |kind: &str, rate: f64| json!({"faults": [{"kind": kind, "rate": rate}]});
        let script = match self {
            Self::Killed => return site.lab.kill(),
            Self::Stopped => return site.lab.signal("STOP"),
            Self::Cut | Self::CutHttp2 => return site.network.as_ref().unwrap().cut(),
            Self::CutOneWay => return site.network.as_ref().unwrap().cut_answers(),
            Self::BadCertificate => return site.door.as_ref().unwrap().go_bad(),
            Self::ChildKilled => return signal(gateway.child().unwrap(), "KILL"),
            Self::ChildStopped => {
                site.stopped = gateway.child();
                return signal(site.stopped.unwrap(), "STOP");
            }
            Self::Reset => script("reset_before", 1.0),
            Self::Throttled => script("throttle", 1.0),
            Self::Flapping => script("reset_before", 0.5),
            Self::Garbage => script("garbage", 1.0),
            Self::Expired => json!({"credential_expired": true}),
            Self::Forgetful => script("forget_session", 1.0),
        };
        site.lab.script(way.first_target(), &script).await;
    }

    pub(crate) async fn heal(self, site: &mut Site) {
        match self {
            Self::Killed => site.lab.run().await,
            Self::Stopped => site.lab.signal("CONT"),
            Self::Cut | Self::CutHttp2 => site.network.as_ref().unwrap().mend(),
            Self::CutOneWay => site.network.as_ref().unwrap().let_answers(),
            Self::BadCertificate => site.door.as_ref().unwrap().go_good(),
            // The gateway starts another one by itself.
            Self::ChildKilled => {}
            Self::ChildStopped => {
                let child = site.stopped.take().unwrap().to_string();
                // It may have been replaced by then.
                let _gone = std::process::Command::new("kill").args(["-CONT", &child]).output();
            }
            Self::Reset
            | Self::Throttled
            | Self::Flapping
            | Self::Garbage
            | Self::Expired
            | Self::Forgetful => {
                site.lab.heal_scripts().await;
            }
        }
    }
}
