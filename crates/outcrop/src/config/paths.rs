//! Checks of `[[path]]`.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use outcrop_policy::rates::Limited;
use outcrop_upstream::spec::Progress;
use outcrop_upstream::{
    BedrockSpec, Connect, CredentialSpec, HttpSpec, KindSpec, McpSpec, McpTransport, PathSpec,
};
use outcrop_wire::mcp::Template;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use url::Url;

use super::check::Findings;
use super::text::{Text, variable};
use super::{rates, raw};

/// Longest MCP call by default.
const CALL_TIMEOUT_MAX: Duration = Duration::from_mins(2);

/// Checks every path; a path with a problem is left out of the result.
pub(crate) fn paths(rows: &[raw::Path], findings: &mut Findings) -> Vec<PathSpec> {
    let mut names = HashSet::new();
    let mut specs = Vec::with_capacity(rows.len());
    for row in rows {
        let name = row.name.get_ref();
        if name.is_empty()
            || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        {
            findings.add(row.name.span(), "a path's name has lower-case letters, digits, - and _", "");
        }
        let own_kind = word_of(*row.kind.get_ref());
        let words = ["direct", "bedrock", "mcp", "openai", "anthropic"];
        if words.contains(&&**name) && &**name != own_kind {
            findings.add(row.name.span(), "orders use this name for another kind", "choose another");
        }
        if !names.insert(name.0.clone()) {
            findings.add(row.name.span(), format!("there are two paths `{}`", &**name), "rename one");
        }
        refuse_strangers(row, findings);
        check_quota(row, findings);
        specs.extend(spec(row, findings));
    }
    specs
}

fn check_quota(row: &raw::Path, findings: &mut Findings) {
    let Some(quota) = &row.quota else { return };
    match rates::limit(quota.get_ref()) {
        Ok((_, Limited::Tokens, _)) => {}
        Ok((_, Limited::Requests, _)) => {
            findings.add(quota.span(), "a quota counts tokens", "write it as \"200 ktok/min\"");
        }
        Err(message) => findings.add(quota.span(), message, ""),
    }
}

/// How orders call a kind.
fn word_of(kind: raw::Kind) -> &'static str {
    match kind {
        raw::Kind::Bedrock => "bedrock",
        raw::Kind::Mcp => "mcp",
        raw::Kind::OpenAi => "openai",
        raw::Kind::Anthropic => "anthropic",
    }
}

fn spec(row: &raw::Path, findings: &mut Findings) -> Option<PathSpec> {
    let kind = match row.kind.get_ref() {
        raw::Kind::Bedrock => KindSpec::Bedrock(bedrock(row, findings)?),
        raw::Kind::Mcp => KindSpec::Mcp(mcp(row, findings)?),
        raw::Kind::OpenAi => KindSpec::OpenAi(http(row, findings)?),
        raw::Kind::Anthropic => KindSpec::Anthropic(http(row, findings)?),
    };
    let defaults = Connect::default();
    Some(PathSpec {
        name: Arc::from(&**row.name.get_ref()),
        region: row.region.as_ref().map(|r| Arc::from(&**r.get_ref())),
        connect: Connect {
            timeout: findings.duration(row.connect_timeout.as_ref(), defaults.timeout),
            allow_private: row.allow_private.unwrap_or_else(|| names_loopback(row)),
            idle_max: defaults.idle_max,
            http2: row.http2.unwrap_or(defaults.http2),
            ca_file: row.ca_file.as_ref().map(|f| f.get_ref().0.clone().into()),
        },
        kind,
    })
}

/// The operator who writes a loopback address means it.
fn names_loopback(row: &raw::Path) -> bool {
    let url = row.endpoint.as_ref().or(row.url.as_ref());
    let host = url.and_then(|u| Url::parse(u.get_ref()).ok());
    host.is_some_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    })
}

/// A key, where it stands if it does, and the kinds it means something for.
type Given<'a> = (&'a str, Option<Range<usize>>, &'a [raw::Kind]);

/// Keys that mean nothing for the kind are mistakes, not decoration.
fn refuse_strangers(row: &raw::Path, findings: &mut Findings) {
    use raw::Kind::{Anthropic, Bedrock, Mcp, OpenAi};
    let kind = *row.kind.get_ref();
    let span = |s: &Option<Spanned<Text>>| s.as_ref().map(Spanned::span);
    let given: [Given<'_>; 12] = [
        ("endpoint", span(&row.endpoint), &[Bedrock]),
        ("credentials", row.credentials.as_ref().map(Spanned::span), &[Bedrock]),
        ("url", span(&row.url), &[OpenAi, Anthropic, Mcp]),
        ("key_env", span(&row.key_env), &[OpenAi, Anthropic, Mcp]),
        ("key", row.key.as_ref().map(Spanned::span), &[OpenAi, Anthropic, Mcp]),
        ("command", row.command.as_ref().map(Spanned::span), &[Mcp]),
        ("tool", span(&row.tool), &[Mcp]),
        ("service_tier", row.service_tier.as_ref().map(Spanned::span), &[Bedrock, OpenAi]),
        ("effects", row.effects.as_ref().map(Spanned::span), &[Mcp]),
        ("call_timeout_max", span(&row.call_timeout_max), &[Mcp]),
        ("arguments", row.arguments.as_ref().map(Spanned::span), &[Mcp]),
        ("result", row.result.as_ref().map(Spanned::span), &[Mcp]),
    ];
    for (key, span, kinds) in given {
        if let Some(span) = span.filter(|_| !kinds.contains(&kind)) {
            let message = format!("`{key}` means nothing for a path of this kind");
            findings.add(span, message, "remove it, or check `kind`");
        }
    }
}

fn url(at: &Spanned<Text>, findings: &mut Findings) -> Option<Url> {
    match Url::parse(at.get_ref()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
                findings.add(
                    at.span(),
                    "a URL here has no user, password or query",
                    "keys go into `key_env`",
                );
                return None;
            }
            Some(url)
        }
        _ => {
            findings.add(at.span(), "this is not a http:// or https:// URL", "");
            None
        }
    }
}

fn required<'a>(
    row: &raw::Path,
    value: Option<&'a Spanned<Text>>,
    key: &str,
    findings: &mut Findings,
) -> Option<&'a Spanned<Text>> {
    if value.is_none() {
        findings.add(row.kind.span(), format!("a path of this kind needs `{key}`"), "");
    }
    value
}

fn bedrock(row: &raw::Path, findings: &mut Findings) -> Option<BedrockSpec> {
    let region = required(row, row.region.as_ref(), "region", findings)?;
    let plain = region.get_ref().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !plain || region.get_ref().is_empty() {
        findings.add(region.span(), "this is not an AWS region", "write it as \"eu-central-1\"");
    }
    let endpoint = match &row.endpoint {
        Some(endpoint) => Some(url(endpoint, findings)?),
        None => None,
    };
    let credentials = match &row.credentials {
        None => CredentialSpec::DefaultChain,
        Some(credentials) => match credential_spec(credentials.get_ref()) {
            Ok(spec) => spec,
            Err(message) => {
                findings.add(credentials.span(), message, "");
                return None;
            }
        },
    };
    Some(BedrockSpec { region: region.get_ref().0.clone(), endpoint, credentials })
}

fn credential_spec(raw: &raw::Credentials) -> Result<CredentialSpec, String> {
    let secret = |name: &Text| variable(name).map(SecretString::from);
    match (&raw.profile, &raw.assume_role, &raw.bearer_env, raw.keys_env.as_deref()) {
        (Some(profile), None, None, None) => Ok(CredentialSpec::Profile(profile.0.clone())),
        (None, Some(arn), None, None) => Ok(CredentialSpec::AssumeRole(arn.0.clone())),
        (None, None, Some(name), None) => secret(name).map(CredentialSpec::BearerToken),
        (None, None, None, Some([id, key])) => {
            Ok(CredentialSpec::StaticKeys { id: variable(id)?, secret: secret(key)?, session: None })
        }
        (None, None, None, Some([id, key, session])) => Ok(CredentialSpec::StaticKeys {
            id: variable(id)?,
            secret: secret(key)?,
            session: Some(secret(session)?),
        }),
        (None, None, None, Some(_)) => {
            Err("`keys_env` names two variables (id, secret) or three (and session token)".into())
        }
        _ => Err("give exactly one of `profile`, `assume_role`, `bearer_env`, `keys_env`".into()),
    }
}

/// The key of a path: from a named variable or as a value.
fn key(row: &raw::Path, findings: &mut Findings) -> Option<SecretString> {
    match (&row.key_env, &row.key) {
        (Some(name), None) => match variable(name.get_ref()) {
            Ok(value) => Some(value.into()),
            Err(message) => {
                findings.add(name.span(), message, "set it before the gateway starts");
                None
            }
        },
        (None, Some(key)) => Some(SecretString::from(key.get_ref().0.expose_secret().to_owned())),
        (Some(_), Some(key)) => {
            findings.add(key.span(), "`key` and `key_env` exclude each other", "");
            None
        }
        (None, None) => None,
    }
}

fn http(row: &raw::Path, findings: &mut Findings) -> Option<HttpSpec> {
    let base = url(required(row, row.url.as_ref(), "url", findings)?, findings)?;
    Some(HttpSpec { base, key: key(row, findings) })
}

fn mcp(row: &raw::Path, findings: &mut Findings) -> Option<McpSpec> {
    let transport = match (&row.url, &row.command) {
        (Some(at), None) => McpTransport::Http { url: url(at, findings)?, bearer: key(row, findings) },
        (None, Some(command)) => stdio(row, command, findings)?,
        _ => {
            findings.add(row.kind.span(), "an mcp path needs exactly one of `url` and `command`", "");
            return None;
        }
    };
    Some(McpSpec {
        transport,
        tool: row.tool.as_ref().map_or_else(|| "converse".to_owned(), |t| t.get_ref().0.clone()),
        effect: row.effect.unwrap_or_default(),
        effects: row.effects.as_ref().map(|effects| effects.get_ref().clone()).unwrap_or_default(),
        template: template(row, findings),
        call_timeout_max: findings.duration(row.call_timeout_max.as_ref(), CALL_TIMEOUT_MAX),
        progress: match row.progress {
            Some(raw::Progress::Text) => Progress::Text,
            Some(raw::Progress::LifeSign) | None => Progress::LifeSign,
        },
    })
}

fn stdio(row: &raw::Path, command: &Spanned<Vec<Text>>, findings: &mut Findings) -> Option<McpTransport> {
    let absolute = command.get_ref().first().is_some_and(|program| program.starts_with('/'));
    if !absolute {
        findings.add(
            command.span(),
            "the program of `command` must be an absolute path",
            "write [\"/usr/local/bin/server\", \"--stdio\"]; no shell and no PATH are used",
        );
        return None;
    }
    let env = row.env.iter().map(|(n, v)| (n.clone(), v.0.expose_secret().to_owned())).collect();
    Some(McpTransport::Stdio { command: command.get_ref().iter().map(|c| c.0.clone()).collect(), env })
}

fn template(row: &raw::Path, findings: &mut Findings) -> Option<Template> {
    let at = match (&row.arguments, &row.result) {
        (None, None) => return None,
        (Some(arguments), Some(_)) => arguments.span(),
        (Some(one), None) | (None, Some(one)) => {
            findings.add(one.span(), "`arguments` and `result` belong together", "see docs/mcp.md");
            return None;
        }
    };
    let parts = serde_json::json!({
        "arguments": row.arguments.as_ref().map(Spanned::get_ref),
        "result": row.result.as_ref().map(Spanned::get_ref),
    });
    let template = serde_json::from_value::<Template>(parts).map_err(|error| error.to_string());
    match template.and_then(|t| t.check().map(|()| t).map_err(|error| error.to_string())) {
        Ok(template) => Some(template),
        Err(error) => {
            findings.add(at, format!("this template cannot be used: {error}"), "see docs/mcp.md");
            None
        }
    }
}
