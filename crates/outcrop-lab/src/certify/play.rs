//! Plays one scenario: upstreams, gateway, load, faults at their times; then hands over the evidence.

mod orders;
mod pairs;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    control::Control,
    evidence::{Evidence, Happened, Ordered, Recorder},
    front::Front,
    gateway::{self, Gateway, GatewayError, Usage},
    scenario::Scenario,
};
use crate::{
    Lab, LabConfig, LabError,
    billing::Record,
    clock,
    load::{
        call::{Call, Mix, MixError},
        credential::Credential,
        drive::{DriveError, Driver, Phase, Setting},
        schedule::{Arrivals, Shape, ShapeError},
        tally::Counts,
    },
};

/// Requests that open connections and sessions before anything is measured, and over how long they are spread.
const WARM_UP: (f64, Duration) = (40.0, Duration::from_millis(500));
/// Requests in flight at most.
const IN_FLIGHT_MAX: usize = 12_000;
/// Shortest time between two looks at the gateway's process.
const LOOK: Duration = Duration::from_millis(250);
/// Most looks in one scenario.
const LOOKS_MAX: u32 = 1_000;
/// How long the upstreams' last records are waited for: that of an answer which its caller left comes late.
const RECORDS_WAIT: Duration = Duration::from_millis(300);

/// What is tested.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A gateway that is started for each scenario, with upstreams of ours behind it.
    Binary(PathBuf),
    /// The same, behind a front that breaks it on purpose: the judge is judged with it.
    Broken(PathBuf, Front),
    /// A gateway elsewhere, of which callers see what they see.
    Address {
        /// Base address.
        url: String,
        /// The model that is asked for there, instead of the scenario's.
        model: Option<String>,
        /// Who asks.
        credential: Credential,
    },
}

/// Told of the run while it goes on.
pub trait Watch: Send + Sync {
    /// The counts of the scenario so far, a few times a second, and how long it goes on.
    fn beat(&self, counts: &Counts, left: Duration);
}

/// Why a scenario could not be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The upstreams.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The generator.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The pattern of the warm-up.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The mix of the direct rounds.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// The front of a gateway that is broken on purpose.
    #[error("the front cannot listen: {0}")]
    Front(#[from] std::io::Error),
    /// It was ended before its time.
    #[error("ended before it was played to its end")]
    Stopped,
    /// It cannot be played against a gateway elsewhere.
    #[error("needs upstreams that can be scripted, and their records; a gateway elsewhere has none")]
    NeedsLab,
}

/// What a played scenario leaves.
#[derive(Debug)]
pub struct Played {
    /// What verdicts rest on.
    pub evidence: Evidence,
    /// The configuration of the gateway; empty where it is not ours.
    pub configuration: String,
}

/// Plays a scenario to its end, or until it is stopped.
pub async fn play(
    scenario: &Arc<Scenario>,
    subject: &Subject,
    watch: &dyn Watch,
    stop: &CancellationToken,
) -> Result<Played, PlayError> {
    tokio::select! {
        () = stop.cancelled() => Err(PlayError::Stopped),
        played = play_through(scenario, subject, watch, stop) => played,
    }
}

async fn play_through(
    scenario: &Arc<Scenario>,
    subject: &Subject,
    watch: &dyn Watch,
    stop: &CancellationToken,
) -> Result<Played, PlayError> {
    match subject {
        Subject::Binary(binary) => at_home(scenario, binary, None, watch, stop).await,
        Subject::Broken(binary, front) => at_home(scenario, binary, Some(*front), watch, stop).await,
        Subject::Address { url, model, credential } => {
            let needs_ours = !scenario.orders.is_empty() || !scenario.keys.is_empty();
            if !scenario.faults.is_empty() || scenario.paired.is_some() || needs_ours {
                return Err(PlayError::NeedsLab);
            }
            let mix = remixed(&scenario.mix, |call| Call {
                model: model.clone().unwrap_or_else(|| call.model.clone()),
                directives: false,
                ..call.clone()
            })?;
            let (base, credential) = (url.clone(), credential.clone());
            let stage = Stage { scenario, mix, base, credential, house: None, watch, stop };
            Ok(Played { evidence: stage.run().await?, configuration: String::new() })
        }
    }
}

/// Against a gateway of our own, with upstreams of ours behind it.
async fn at_home(
    scenario: &Arc<Scenario>,
    binary: &Path,
    front: Option<Front>,
    watch: &dyn Watch,
    stop: &CancellationToken,
) -> Result<Played, PlayError> {
    let config = LabConfig { seed: scenario.seed, ..LabConfig::ephemeral() };
    let lab = Lab::start(config).await?;
    let gateway = Gateway::start(binary, gateway::configuration(&lab, &scenario.gateway)?).await?;
    let standing = match front {
        Some(front) => Some(front.stand(&gateway.url).await?),
        None => None,
    };
    let stage = Stage {
        scenario,
        mix: orders::with_keys(scenario, &gateway).await?,
        base: standing.as_ref().map_or(&gateway.url, |standing| &standing.url).clone(),
        credential: Credential::None,
        house: Some((&lab, &gateway)),
        watch,
        stop,
    };
    let evidence = stage.run().await?;
    let configuration = gateway.configuration.clone();
    gateway.stop().await;
    lab.shutdown().await;
    Ok(Played { evidence, configuration })
}

/// A scenario about to be played, with everything it is played on.
struct Stage<'a> {
    scenario: &'a Arc<Scenario>,
    mix: Arc<Mix>,
    base: String,
    credential: Credential,
    /// Upstreams and gateway, where they are ours.
    house: Option<(&'a Lab, &'a Gateway)>,
    watch: &'a dyn Watch,
    stop: &'a CancellationToken,
}

/// What is noted while a scenario is played.
#[derive(Clone, Copy)]
struct Seen<'a> {
    happened: &'a Mutex<Vec<Happened>>,
    usage: &'a Mutex<Vec<(f64, Usage)>>,
    orders: &'a Mutex<Vec<Ordered>>,
}

impl Stage<'_> {
    async fn run(&self) -> Result<Evidence, PlayError> {
        self.prepare().await?;
        let origin_ms = clock::now_ms();
        let recorder = Arc::new(Recorder::default());
        let direct = Arc::new(Recorder::default());
        let happened = Mutex::new(Vec::new());
        let usage = Mutex::new(Vec::new());
        let orders = Mutex::new(Vec::new());
        let control = Control::begin(self.gateway_cpu());
        let playing = async {
            if let Some(paired) = &self.scenario.paired {
                self.rounds(paired, &recorder, &direct).await
            } else {
                self.phases(&recorder).await
            }
        };
        let result = tokio::select! {
            played = playing => played,
            never = self.meanwhile(&recorder, Seen { happened: &happened, usage: &usage, orders: &orders }) => never,
        };
        result?;
        let foreign_share = control.and_then(|control| control.foreign_share(self.gateway_cpu()));
        self.look(&usage, origin_ms);
        tokio::time::sleep(RECORDS_WAIT).await;
        let claims = self.claims().await;
        let (records, own) = self.records();
        let mut counts = recorder.counts();
        counts.join(&direct.counts());
        Ok(Evidence {
            scenario: Arc::clone(self.scenario),
            samples: recorder.take(),
            direct: direct.take(),
            records,
            own,
            origin_ms,
            usage: usage.into_inner(),
            faults: happened.into_inner(),
            orders: orders.into_inner(),
            claims,
            foreign_share,
            counts,
        })
    }

    /// What goes on beside the load; ends only with an error.
    async fn meanwhile(&self, recorder: &Recorder, seen: Seen<'_>) -> Result<(), PlayError> {
        let origin = Instant::now();
        let origin_ms = clock::now_ms();
        let faults = async {
            self.faults(origin, seen.happened).await?;
            std::future::pending::<Result<(), PlayError>>().await
        };
        let orders = async {
            self.orders(origin, seen.orders).await?;
            std::future::pending::<Result<(), PlayError>>().await
        };
        let looks = async {
            let every = LOOK.max(self.scenario.length() / LOOKS_MAX);
            loop {
                self.look(seen.usage, origin_ms);
                let left = self.scenario.length().saturating_sub(origin.elapsed());
                self.watch.beat(&recorder.counts(), left);
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            ended = faults => ended,
            ended = orders => ended,
            () = looks => Ok(()),
        }
    }

    /// Scripts the upstreams, and opens connections and sessions; what that costs is forgotten.
    async fn prepare(&self) -> Result<(), PlayError> {
        if let Some((lab, _)) = self.house {
            for (target, script) in &self.scenario.targets {
                lab.script(target, script.clone()).await?;
            }
        }
        if !self.scenario.warm_up {
            return Ok(());
        }
        let recorder = Arc::new(Recorder::default());
        let mut driver = self.driver(&self.base, &self.credential, &recorder)?;
        let schedule = Arrivals::new(Shape::Constant(WARM_UP.0), false)?.schedule(WARM_UP.1, 0);
        driver.play(Phase { number: u16::MAX, schedule, mix: Arc::clone(&self.mix) }).await?;
        driver.drain().await;
        if let Some((lab, _)) = self.house {
            for listener in lab.listeners() {
                if let Ok(target) = lab.target(&listener.name) {
                    target.billing().reset(clock::now_ms());
                }
            }
        }
        Ok(())
    }

    async fn phases(&self, recorder: &Arc<Recorder>) -> Result<(), PlayError> {
        let mut driver = self.driver(&self.base, &self.credential, recorder)?;
        for (number, phase) in self.scenario.phases.iter().enumerate() {
            let schedule = phase.arrivals.schedule(phase.length, self.scenario.seed);
            driver.play(Phase { number: number as u16, schedule, mix: Arc::clone(&self.mix) }).await?;
        }
        driver.drain().await;
        Ok(())
    }

    fn driver(
        &self,
        base: &str,
        credential: &Credential,
        recorder: &Arc<Recorder>,
    ) -> Result<Driver, DriveError> {
        let setting = Setting {
            base: base.to_owned(),
            credential: credential.clone(),
            seed: self.scenario.seed,
            patience: self.scenario.patience,
            in_flight_max: IN_FLIGHT_MAX,
        };
        Driver::new(setting, Arc::<Recorder>::clone(recorder), self.stop.child_token())
    }

    /// Puts faults in force and heals them at their times.
    async fn faults(&self, origin: Instant, happened: &Mutex<Vec<Happened>>) -> Result<(), PlayError> {
        let Some((lab, _)) = self.house else { return Ok(()) };
        let mut changes: Vec<(Duration, usize, bool)> = Vec::new();
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            changes.push((fault.at, index, true));
            changes.extend(fault.until.map(|until| (until, index, false)));
        }
        // At one moment what ends goes before what begins.
        changes.sort_unstable_by_key(|(at, index, begins)| (*at, *begins, *index));
        let mut begun: Vec<usize> = Vec::new();
        for (at, index, begins) in changes {
            let Some(fault) = self.scenario.faults.get(index) else { continue };
            tokio::time::sleep_until(origin + at).await;
            let usual = self.scenario.targets.get(&fault.target).cloned().unwrap_or_default();
            lab.script(&fault.target, if begins { fault.script.clone() } else { usual }).await?;
            let now_s = origin.elapsed().as_secs_f64();
            let mut happened = happened.lock();
            if begins {
                let (target, label) = (fault.target.clone(), fault.label.clone());
                happened.push(Happened {
                    target,
                    label,
                    script: fault.script.clone(),
                    at_s: now_s,
                    until_s: None,
                });
                begun.push(index);
            } else if let Some(position) = begun.iter().position(|begun| *begun == index)
                && let Some(fault) = happened.get_mut(position)
            {
                fault.until_s = Some(now_s);
            }
        }
        Ok(())
    }

    fn gateway_cpu(&self) -> Duration {
        self.house.and_then(|(_, gateway)| gateway.usage()).map_or(Duration::ZERO, |usage| usage.cpu)
    }

    fn look(&self, usage: &Mutex<Vec<(f64, Usage)>>, origin_ms: u64) {
        if let Some((_, gateway)) = self.house
            && let Some(seen) = gateway.usage()
        {
            let at_s = clock::now_ms().saturating_sub(origin_ms) as f64 / 1_000.0;
            usage.lock().push((at_s, seen));
        }
    }

    /// The records by arrival, those of callers' requests apart from those of the gateway's own. Direct rounds would
    /// mix with the others, so paired scenarios have none.
    fn records(&self) -> (Vec<Record>, Vec<Record>) {
        let Some((lab, _)) = self.house.filter(|_| self.scenario.paired.is_none()) else {
            return Default::default();
        };
        let mut records = lab.billing();
        records.sort_by_key(|record| record.at_ms);
        records.into_iter().partition(|record| record.tag.is_some())
    }
}

/// A mix with each of its kinds changed.
fn remixed(mix: &Mix, change: impl Fn(&Call) -> Call) -> Result<Arc<Mix>, MixError> {
    Ok(Arc::new(Mix::new(mix.weighted().map(|(weight, call)| (weight, change(call))).collect())?))
}
