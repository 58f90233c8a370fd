//! Arrival patterns as they are written on the command line.

use std::path::Path;
use std::time::Duration;

use outcrop_lab::load::schedule::{Arrivals, Shape};

const FORMS: &str = "constant, poisson, ramp:FROM..TO, step:A,B,C, spike:PEAK@FROM..UNTIL, trace:FILE, or poisson+ before a shape";

/// Reads a pattern around a rate in requests per second.
pub(super) fn parse(text: &str, rate: f64) -> Result<Arrivals, String> {
    let (poisson, shape) = match text.strip_prefix("poisson+") {
        Some(shape) => (true, shape),
        None if text == "poisson" => (true, "constant"),
        None => (false, text),
    };
    let shape = shape_of(shape, rate).map_err(|why| format!("--arrival {text}: {why}"))?;
    Arrivals::new(shape, poisson).map_err(|error| format!("--arrival {text} with --rate {rate}: {error}"))
}

fn shape_of(text: &str, rate: f64) -> Result<Shape, String> {
    match text.split_once(':') {
        None if text == "constant" => Ok(Shape::Constant(rate)),
        Some(("ramp", ends)) => range(ends).map(|(from, to)| Shape::Ramp(from, to)),
        Some(("step", rates)) => rates.split(',').map(number).collect::<Result<_, _>>().map(Shape::Steps),
        Some(("spike", spike)) => {
            let (peak, stretch) = spike.split_once('@').ok_or("a spike is written PEAK@FROM..UNTIL")?;
            let (from, until) = range(stretch)?;
            Ok(Shape::Spike { base: rate, peak: number(peak)?, from, until })
        }
        Some(("trace", file)) => trace(Path::new(file)).map(Shape::Trace),
        _ => Err(format!("not a pattern; there are {FORMS}")),
    }
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once("..").ok_or_else(|| format!("`{text}` is no range; write FROM..TO"))?;
    Ok((number(from)?, number(to)?))
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no number"))
}

/// One time in seconds per line; empty lines and lines with `#` are passed over.
fn trace(file: &Path) -> Result<Vec<Duration>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(n, line)| {
            let seconds = line.trim().parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
            seconds
                .ok_or_else(|| format!("{} line {}: `{line}` is no time in seconds", file.display(), n + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use outcrop_lab::load::schedule::{Arrivals, Shape};

    use super::parse;

    #[test]
    fn every_form_is_read() {
        for (text, shape, poisson) in [
            ("constant", Shape::Constant(5.0), false),
            ("poisson", Shape::Constant(5.0), true),
            ("ramp:1..20", Shape::Ramp(1.0, 20.0), false),
            ("poisson+step:1,2,3", Shape::Steps(vec![1.0, 2.0, 3.0]), true),
            ("spike:50@0.4..0.6", Shape::Spike { base: 5.0, peak: 50.0, from: 0.4, until: 0.6 }, false),
        ] {
            assert_eq!(parse(text, 5.0), Ok(Arrivals::new(shape, poisson).unwrap()), "{text}");
        }
    }

    #[test]
    fn a_wrong_form_names_what_is_wrong() {
        for (text, part) in [
            ("burst", "there are constant, poisson"),
            ("ramp:1-20", "FROM..TO"),
            ("spike:50", "PEAK@FROM..UNTIL"),
            ("step:1,x", "`x` is no number"),
            ("trace:/nonexistent", "No such file"),
            ("spike:50@0.9..0.1", "between 0 and 1"),
        ] {
            let error = parse(text, 5.0).unwrap_err();
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
    }
}
