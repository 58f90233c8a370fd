//! One gateway, some preferred targets that can break, and one of the other kind that does not.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::callers::{Callers, Told, quantile};
use crate::door::Door;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::lab::Lab;
use crate::network::Network;

/// Requests by which the gateway learns what is usual.
const WARMING: usize = 60;

/// Between two requests.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A healed target is used again within this.
pub(crate) const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// So many answers in a row of the preferred target mean that it is wholly back.
const IN_A_ROW: usize = 10;

/// Which kind is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    DirectFirst,
    McpFirst,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::DirectFirst, Self::McpFirst];

    /// The lab's name of the preferred target.
    pub(crate) fn first_target(self) -> &'static str {
        if self == Self::DirectFirst { "fra" } else { "desk" }
    }

    fn operation(self) -> &'static str {
        if self == Self::DirectFirst { "direct-first" } else { "mcp-first" }
    }
}

/// A preferred target, and where it can break.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) network: Option<Network>,
    pub(crate) door: Option<Door>,
    pub(crate) stopped: Option<u32>,
}

/// A running scene.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) sites: Vec<Site>,
    pub(crate) second: Lab,
    pub(crate) way: Way,
}

impl Scene {
    /// So many targets that can break in this way; `None` where that cannot be done here.
    pub(crate) async fn set(fault: Fault, way: Way, targets: usize) -> Option<Self> {
        let second = Lab::start().await;
        let mut sites = Vec::new();
        for _ in 0..targets {
            sites.push(Site::of(fault, way).await?);
        }
        let mut text = other_path(&second, way);
        for (number, site) in sites.iter().enumerate() {
            text.push_str(&site.path(fault, way, number));
            let ids = ["eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet"];
            let [first, other] = if way == Way::DirectFirst { ids } else { [ids[1], ids[0]] };
            text.push_str(&format!(
                "[[model]]\nname = \"m{number}\"\ntargets = [{{ path = \"p{number}\", id = \"{first}\" }}, \
                 {{ path = \"other\", id = \"{other}\" }}]\n"
            ));
        }
        let gateway = Gateway::start(&text).await;
        Some(Self { gateway, sites, second, way })
    }

    pub(crate) fn callers(&self) -> Callers {
        Callers { gateway: self.gateway.data, operation: self.way.operation() }
    }
}

impl Site {
    async fn of(fault: Fault, way: Way) -> Option<Self> {
        let network = if fault.needs_link() { Some(Network::make()?) } else { None };
        let lab = match &network {
            Some(network) => Lab::behind(network).await,
            None => Lab::start().await,
        };
        let door = match fault {
            Fault::BadCertificate => Some(Door::before(lab.address(way.first_target())).await),
            _ => None,
        };
        Some(Self { lab, network, door, stopped: None })
    }

    fn path(&self, fault: Fault, way: Way, number: usize) -> String {
        let address = self.lab.address(way.first_target());
        if fault.needs_child() {
            let binary = env!("CARGO_BIN_EXE_outcrop");
            return format!(
                "[[path]]\nname = \"p{number}\"\nkind = \"mcp\"\neffect = \"read_only\"\n\
                 command = [\"{binary}\", \"lab\", \"mcp-stdio\"]\n"
            );
        }
        let (base, mut more) = match &self.door {
            None => (format!("http://{address}"), "allow_private = true\n".to_owned()),
            Some(door) => {
                let file = std::env::temp_dir().join(format!("outcrop-ca-{}.pem", door.address.port()));
                std::fs::write(&file, &door.authority).unwrap();
                (format!("https://{}", door.address), format!("ca_file = \"{}\"\n", file.display()))
            }
        };
        if fault == Fault::CutHttp2 {
            more.push_str("http2 = true\n");
        }
        path(&format!("p{number}"), way == Way::DirectFirst, &base, &more)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(door) = &self.door {
            let file = std::env::temp_dir().join(format!("outcrop-ca-{}.pem", door.address.port()));
            let _gone = std::fs::remove_file(file);
        }
    }
}

fn other_path(lab: &Lab, way: Way) -> String {
    let target = if way == Way::DirectFirst { "desk" } else { "fra" };
    path("other", way == Way::McpFirst, &format!("http://{}", lab.address(target)), "")
}

/// The table of a path, direct or to an MCP server.
pub(crate) fn path(name: &str, is_direct: bool, base: &str, more: &str) -> String {
    let kind = if is_direct {
        format!(
            "kind = \"bedrock\"\nregion = \"eu-central-1\"\nendpoint = \"{base}\"\n\
             credentials = {{ keys_env = [\"LAB_AWS_ID\", \"LAB_AWS_SECRET\"] }}\n"
        )
    } else {
        format!("kind = \"mcp\"\nurl = \"{base}/mcp\"\neffect = \"read_only\"\n")
    };
    format!("[[path]]\nname = \"{name}\"\n{kind}{more}")
}

/// How many requests a fault is judged by.
pub(crate) fn requests() -> usize {
    number("OUTCROP_FAULT_REQUESTS").unwrap_or(150)
}

/// Between two requests, as it is set: a machine that cannot carry 50 a second says nothing about the gateway.
pub(crate) fn pause() -> Duration {
    number("OUTCROP_FAULT_PAUSE_MS").map_or(PAUSE, |ms| Duration::from_millis(ms as u64))
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Breaks one target in both directions, judges what callers saw, and heals it.
pub(crate) async fn judge(fault: Fault, ways: &[Way]) {
    if let Some(trials) = number("OUTCROP_RECOVERY_TRIALS") {
        for way in ways {
            try_recoveries(fault, *way, trials).await;
        }
        return;
    }
    join_all(ways.iter().map(|way| judge_one(fault, *way))).await;
}

async fn judge_one(fault: Fault, way: Way) {
    let Some(mut scene) = Scene::set(fault, way, 1).await else { return };
    let callers = scene.callers();
    let warm = callers.load("m0", WARMING, pause()).await;
    let wrong = warm.iter().find(|told| told.is_error());
    assert!(wrong.is_none(), "{fault:?} {way:?}: before anything: {wrong:?}");
    let preferred = warm.iter().filter(|told| told.path == "p0").count();
    assert!(preferred * 2 > WARMING, "{fault:?} {way:?}: before anything: {preferred} of {WARMING}");
    let count = requests();
    let healthy_for = pause() * u32::try_from(count / 6).unwrap();
    let breaking = async {
        sleep(healthy_for).await;
        let Scene { gateway, sites, .. } = &mut scene;
        fault.inject(&mut sites[0], gateway, way).await;
    };
    let (all, ()) = tokio::join!(callers.load("m0", count, pause()), breaking);
    report(fault, way, &warm, &all, healthy_for);
    check(fault, way, &all);
    fault.heal(&mut scene.sites[0]).await;
    let back = recovery(&callers, "m0", 1).await;
    println!("{fault:?} {way:?}: back after {} ms", back.as_millis());
    assert!(back < RECOVERY_MAX, "{fault:?} {way:?}: back after {back:?}");
}

/// No errors, nothing late, no answer half given.
pub(crate) fn check(fault: Fault, way: Way, all: &[Told]) {
    let errors: Vec<&Told> = all.iter().filter(|told| told.is_error()).collect();
    let first = errors.first();
    let mut kinds = std::collections::BTreeMap::<(u16, usize, &str), usize>::new();
    for told in &errors {
        *kinds.entry((told.status, told.attempts, told.code())).or_default() += 1;
    }
    if !kinds.is_empty() {
        println!("{fault:?} {way:?}: status, attempts and code of errors: {kinds:?}");
    }
    assert!(errors.is_empty(), "{fault:?} {way:?}: {} of {} failed: {first:?}", errors.len(), all.len());
    let late: Vec<&Told> = all.iter().filter(|told| told.is_late()).collect();
    assert!(late.is_empty(), "{fault:?} {way:?}: {} were late: {:?}", late.len(), late.first());
}

fn report(fault: Fault, way: Way, warm: &[Told], all: &[Told], healthy_for: Duration) {
    let usual = quantile(&warm.iter().collect::<Vec<_>>(), 0.5);
    let after: Vec<&Told> = all.iter().filter(|told| told.at >= healthy_for).collect();
    let failed_over: Vec<&Told> = after.iter().copied().filter(|told| told.attempts > 1).collect();
    let ms = |told: &[&Told], share| quantile(told, share).saturating_sub(usual).as_millis();
    let attempts: usize = all.iter().map(|told| told.attempts).sum();
    println!(
        "{fault:?} {way:?}: {} requests, {} errors, {} streams broken after they began, usual {} ms, lag {} ms; \
         {} failed over: p50 +{} ms, p99 +{} ms; all after the fault: p50 +{} ms, p99 +{} ms, max {} ms; \
         attempts/request {:.3}",
        all.len(),
        all.iter().filter(|told| told.is_error()).count(),
        all.iter().filter(|told| told.broke).count(),
        usual.as_millis(),
        all.first().map_or(0, |told| told.lag.as_millis()),
        failed_over.len(),
        ms(&failed_over, 0.5),
        ms(&failed_over, 0.99),
        ms(&after, 0.5),
        ms(&after, 0.99),
        quantile(&after, 1.0).as_millis(),
        attempts as f64 / all.len() as f64,
    );
}

/// Asks until the preferred target has answered so often in a row; time to the first of these.
pub(crate) async fn recovery(callers: &Callers, model: &str, in_a_row: usize) -> Duration {
    let (start, preferred) = (Instant::now(), model.replace('m', "p"));
    let (mut seen, mut since) = (0, Duration::ZERO);
    while start.elapsed() < RECOVERY_MAX * 2 {
        let told = callers.ask(model, false).await;
        assert!(!told.is_error(), "while it recovers: {told:?}");
        if told.path == preferred {
            if seen == 0 {
                since = start.elapsed();
            }
            seen += 1;
            if seen >= in_a_row {
                return since;
            }
        } else {
            seen = 0;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{model}: it never came back")
}

/// Breaks many targets side by side, each for a time of its own.
async fn try_recoveries(fault: Fault, way: Way, trials: usize) {
    let Some(mut scene) = Scene::set(fault, way, trials).await else { return };
    let callers = scene.callers();
    let Scene { gateway, sites, .. } = &mut scene;
    let gateway = &*gateway;
    let running = sites.iter_mut().enumerate().map(|(number, site)| {
        let callers = callers.clone();
        async move {
            let model = format!("m{number}");
            sleep(Duration::from_millis(137 * number as u64)).await;
            callers.load(&model, 20, Duration::from_millis(50)).await;
            fault.inject(site, gateway, way).await;
            // 3 to 20 s, so that every length of pause is met.
            let seconds = 3.0 + 17.0 * number as f64 / trials as f64;
            let asked = (seconds * 4.0) as usize;
            let all = callers.load(&model, asked, Duration::from_millis(250)).await;
            let errors = all.iter().filter(|told| told.is_error()).count();
            if errors > 0 {
                println!("{fault:?} {way:?} {model}: {errors} of {} failed", all.len());
            }
            fault.heal(site).await;
            let used = recovery(&callers, &model, 1).await;
            let full = used + recovery(&callers, &model, IN_A_ROW).await;
            (used, full)
        }
    });
    let mut times: Vec<(Duration, Duration)> = join_all(running).await;
    let ms = |times: &[(Duration, Duration)], share: f64, part: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<u128> = times.iter().map(|time| part(time).as_millis()).collect();
        all.sort_unstable();
        all[((all.len() - 1) as f64 * share) as usize]
    };
    println!(
        "{fault:?} {way:?}: {trials} recoveries: used again after median {} ms, max {} ms; \
         {IN_A_ROW} answers in a row from median {} ms, max {} ms",
        ms(&times, 0.5, |t| t.0),
        ms(&times, 1.0, |t| t.0),
        ms(&times, 0.5, |t| t.1),
        ms(&times, 1.0, |t| t.1),
    );
    times.retain(|(used, _)| *used >= RECOVERY_MAX);
    assert!(times.is_empty(), "{fault:?} {way:?}: {times:?}");
}
