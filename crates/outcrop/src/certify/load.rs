//! `outcrop certify load`: the load generator alone, against any compatible address.

mod arrival;
mod result;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use outcrop_lab::load::call::{Api, Call, Mix};
use outcrop_lab::load::credential::Credential;
use outcrop_lab::load::drive::{Driver, Phase, Setting};
use outcrop_lab::load::schedule::Arrivals;
use outcrop_lab::load::tally::{Tally, ms_at};
use tokio_util::sync::CancellationToken;

use self::result::Outcome;
use super::{EX_INTERRUPTED, raise_descriptors};
use crate::cli::{EX_UNAVAILABLE, EX_USAGE, refuse};

/// How often progress is shown.
const BEAT: Duration = Duration::from_millis(250);

/// Options of `outcrop certify load`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Base address, for instance http://127.0.0.1:8080 or https://api.example.com/v1.
    #[arg(long, value_parser = base)]
    target: String,
    /// API to speak.
    #[arg(long, value_enum)]
    api: ApiName,
    /// Model as the target names it.
    #[arg(long)]
    model: String,
    /// Requests per second.
    #[arg(long)]
    rate: f64,
    /// Length of the run, in seconds.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    seconds: f64,
    /// Ask for streams.
    #[arg(long)]
    stream: bool,
    /// constant, poisson, ramp:FROM..TO, step:A,B,C, spike:PEAK@FROM..UNTIL (fractions of the length), all as requests per
    /// second; or trace:FILE with a time in seconds on each line. `poisson+` before a shape makes its distances random.
    #[arg(long, default_value = "constant")]
    arrival: String,
    /// Sent as `Authorization: Bearer`; to the API `anthropic` as `x-api-key`.
    #[arg(long, env = "OUTCROP_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Sign with AWS Signature Version 4 for this region, with the pair in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long, conflicts_with = "key", requires_all = ["aws_id", "aws_secret"])]
    sign: Option<String>,
    /// Access key id for `--sign`.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true)]
    aws_id: Option<String>,
    /// Secret access key for `--sign`.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, hide = true)]
    aws_secret: Option<String>,
    /// `x-outcrop-operation` of all requests; several, with weights, as emergency=1,standard=9.
    #[arg(long)]
    operation: Option<String>,
    /// Size of each prompt, in bytes.
    #[arg(long, default_value_t = 400)]
    prompt_bytes: usize,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    answer_tokens: u64,
    /// The model behind the target is `outcrop lab`: have exact answers made, and check them word by word.
    #[arg(long)]
    lab: bool,
    /// Seconds after which an answer is given up.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    patience: f64,
    /// Requests in flight at most; what is due beyond is not sent, and counted.
    #[arg(long, default_value_t = 20_000)]
    in_flight: usize,
    /// How late the generator may be for 1 % of its requests, in milliseconds, before the run is void.
    #[arg(long, default_value_t = 10.0)]
    lag_max: f64,
    /// Seed of everything drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ApiName {
    /// Chat completions.
    Openai,
    /// Messages.
    Anthropic,
    /// Converse and `ConverseStream`.
    Bedrock,
    /// `InvokeModel`, with a body in Anthropic's form.
    Invoke,
    /// The tool `converse` of a server without sessions (2026-07-28).
    Mcp,
}

/// What is to be done, checked.
struct Plan {
    setting: Setting,
    arrivals: Arrivals,
    mix: Arc<Mix>,
    length: Duration,
    lag_max: Duration,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let plan = match plan(options) {
        Ok(plan) => plan,
        Err(message) => return refuse(&message, EX_USAGE),
    };
    raise_descriptors();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    let outcome = match runtime.block_on(play(plan)) {
        Ok(outcome) => outcome,
        Err(message) => return refuse(&message, EX_UNAVAILABLE),
    };
    outcome.print(options);
    if outcome.partial {
        ExitCode::from(EX_INTERRUPTED)
    } else if outcome.is_unreachable() {
        refuse(&format!("nothing answers at {}", options.target), EX_UNAVAILABLE)
    } else if outcome.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn plan(options: &Options) -> Result<Plan, String> {
    let arrivals = arrival::parse(&options.arrival, options.rate)?;
    let call = |operation: Option<&str>| Call {
        api: options.api.into(),
        model: options.model.clone(),
        stream: options.stream,
        operation: operation.map(str::to_owned),
        prompt_bytes: options.prompt_bytes,
        answer_tokens: options.answer_tokens,
        directives: options.lab,
        headers: Vec::new(),
    };
    let calls = match &options.operation {
        None => vec![(1.0, call(None))],
        Some(operations) => weighted(operations)?.map(|(weight, name)| (weight, call(Some(name)))).collect(),
    };
    Ok(Plan {
        setting: Setting {
            base: options.target.clone(),
            credential: options.credential(),
            seed: options.seed,
            patience: Duration::from_secs_f64(options.patience),
            in_flight_max: options.in_flight,
        },
        arrivals,
        mix: Arc::new(Mix::new(calls).map_err(|error| error.to_string())?),
        length: Duration::from_secs_f64(options.seconds),
        lag_max: Duration::try_from_secs_f64(options.lag_max / 1_000.0)
            .map_err(|_| format!("--lag-max {}: not a time", options.lag_max))?,
    })
}

/// `a=1,b=9`, or one name alone.
fn weighted(text: &str) -> Result<impl Iterator<Item = (f64, &str)>, String> {
    let parts: Result<Vec<(f64, &str)>, String> = text
        .split(',')
        .map(|part| match part.split_once('=') {
            None => Ok((1.0, part)),
            Some((name, weight)) => {
                let weight = weight
                    .parse()
                    .map_err(|_| format!("--operation {text}: `{weight}` is no number; write name=weight"))?;
                Ok((weight, name))
            }
        })
        .collect();
    Ok(parts?.into_iter())
}

async fn play(plan: Plan) -> Result<Outcome, String> {
    let stop = CancellationToken::new();
    let tally = Arc::new(Tally::default());
    let mut driver = Driver::new(plan.setting.clone(), Arc::<Tally>::clone(&tally), stop.clone())
        .map_err(|error| error.to_string())?;
    let schedule = plan.arrivals.schedule(plan.length, plan.setting.seed);
    let phase = Phase { number: 0, schedule, mix: Arc::clone(&plan.mix) };
    let playing = async {
        driver.play(phase).await.map_err(|error| error.to_string())?;
        driver.drain().await;
        Ok::<Duration, String>(driver.elapsed())
    };
    let seconds = tokio::select! {
        played = playing => Some(played?),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).map_err(|error| error.to_string())?,
        () = show_progress(&tally, plan.length) => None,
    };
    stop.cancel();
    let counts = tally.counts();
    Ok(Outcome::new(counts, &plan, seconds))
}

/// Shows the run on a terminal; says nothing without one. Never ends.
async fn show_progress(tally: &Tally, length: Duration) {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let bar = ProgressBar::new(length.as_secs().max(1));
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
        bar.set_style(style);
    }
    let mut beat = tokio::time::interval(BEAT);
    let started = tokio::time::Instant::now();
    let mut before = (started, 0);
    loop {
        let now = beat.tick().await;
        let counts = tally.counts();
        let seconds = (now - before.0).as_secs_f64().max(0.001);
        let rate = (counts.complete - before.1) as f64 / seconds;
        let left = length.saturating_sub(now - started).as_secs();
        bar.set_position((now - started).as_secs());
        bar.set_message(format!(
            "{rate:>7.0}/s   p50 {:.1} ms   p99 {:.1} ms   {} failed   {left} s left",
            ms_at(&counts.latency, 50.0),
            ms_at(&counts.latency, 99.0),
            counts.failed() + counts.unsent,
        ));
        before = (now, counts.complete);
    }
}

impl Options {
    fn credential(&self) -> Credential {
        match (&self.sign, &self.key) {
            (Some(region), _) => Credential::SigV4 {
                id: self.aws_id.clone().unwrap_or_default(),
                secret: self.aws_secret.clone().unwrap_or_default(),
                region: region.clone(),
            },
            (None, Some(key)) if matches!(self.api, ApiName::Anthropic) => Credential::ApiKey(key.clone()),
            (None, Some(key)) => Credential::Bearer(key.clone()),
            (None, None) => Credential::None,
        }
    }
}

impl From<ApiName> for Api {
    fn from(name: ApiName) -> Self {
        match name {
            ApiName::Openai => Self::OpenAi,
            ApiName::Anthropic => Self::Anthropic,
            ApiName::Bedrock => Self::Bedrock,
            ApiName::Invoke => Self::Invoke,
            ApiName::Mcp => Self::Mcp,
        }
    }
}

fn base(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("{error}; write http://host:port"))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("not an HTTP address; write http://host:port or https://host".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    let sound = seconds > 0.0 && seconds <= 604_800.0;
    if sound { Ok(seconds) } else { Err("must lie above 0 and at most at 604800 (a week)".to_owned()) }
}
