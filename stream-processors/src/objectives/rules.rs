//! What services promise: the file of objectives, read and checked.
//!
//! In: text in YAML. Out: [`Rules`], or what is wrong and with which objective. Bounded: bytes of the file, objectives in it, burn rates of each.

use std::fmt;

use headwater_schemas::records::{Alert, Workload};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A larger file is refused.
pub const FILE_BYTES_MAX: usize = 1 << 20;
const OBJECTIVES_MAX: usize = 1000;
const OWNERS_MAX: usize = 1000;
const BURN_RATES_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 100;
const MINUTE_US: i64 = 60 * 1_000_000;
/// Counts are kept for so long.
pub const LONG_MAX_US: i64 = 3 * 24 * 60 * MINUTE_US;
const WITHIN_MAX_US: i64 = 60 * MINUTE_US;

/// All of a file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Who is told of the alerts that blame a service, whatever they are about. The first one that fits holds.
    #[serde(default)]
    pub owners: Vec<Owner>,
}

/// Who is told of some services.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Whose alerts; any service if it is not given.
    #[serde(default)]
    pub service: Ends,
    /// Goes into each alert that does not say by itself who is told.
    pub owner: String,
    /// The same of how urgent it is.
    #[serde(default)]
    pub severity: String,
}

/// Of the requests to some services, so many must be good.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Different for each.
    pub name: String,
    /// Whose requests: the server of the edge. Each service that fits is judged by itself.
    pub service: Ends,
    /// Of these clients alone.
    #[serde(default)]
    pub client: Option<Ends>,
    /// Of this protocol alone, such as `http`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Of this operation alone, as topics and the page name it.
    #[serde(default)]
    pub operation: Option<String>,
    /// Percent of the requests that must be good, below 100.
    pub target: f64,
    /// A good request takes no longer than that, beside that the server does not fail it.
    #[serde(default)]
    pub within: Option<Span>,
    /// Connections that fail count as requests that are not good.
    #[serde(default)]
    pub failed_connections: bool,
    /// Who is to be told; goes into the alert as it is.
    #[serde(default)]
    pub owner: String,
    #[serde(default = "usual_burn_rates")]
    pub burn_rates: Vec<BurnRate>,
}

/// How fast the budget of bad requests may be used up: both over a long window, and over a short one, which ends an alert soon once it is over
/// (Google, The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts").
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnRate {
    pub long: Span,
    pub short: Span,
    /// 1 is as fast as the target allows.
    pub rate: f64,
    /// Goes into the alert as it is.
    #[serde(default)]
    pub severity: String,
}

/// Which workloads: those whose fields are these. A field that is not given may be anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    pub cluster: Option<String>,
    pub namespace: Option<String>,
    pub kind: Option<String>,
    pub name: Option<String>,
}

impl Ends {
    pub fn fits(&self, workload: &Workload) -> bool {
        let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        fits(&self.name, &workload.name)
            && fits(&self.namespace, &workload.namespace)
            && fits(&self.kind, &workload.kind)
            && fits(&self.cluster, &workload.cluster)
    }

    fn is_any(&self) -> bool {
        *self == Ends::default()
    }
}

/// A length of time in microseconds, written such as `300ms`, `5m` or `3d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = std::time::Duration::from_micros(self.0.max(0) as u64);
        write!(f, "{}", humantime::format_duration(span))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text).ok().and_then(|span| i64::try_from(span.as_micros()).ok());
        span.map(Span).ok_or_else(|| D::Error::custom(format!("`{text}` is no time such as 300ms, 5m or 3d")))
    }
}

/// What the workbook recommends: two kinds that wake somebody, and one for working hours.
fn usual_burn_rates() -> Vec<BurnRate> {
    let minutes = |minutes: i64| Span(minutes * MINUTE_US);
    let burn_rate = |long, short, rate, severity: &str| BurnRate {
        long: minutes(long),
        short: minutes(short),
        rate,
        severity: severity.to_owned(),
    };
    vec![
        burn_rate(60, 5, 14.4, "page"),
        burn_rate(6 * 60, 30, 6.0, "page"),
        burn_rate(3 * 24 * 60, 6 * 60, 1.0, "ticket"),
    ]
}

/// Why a file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRules(pub String);

impl Rules {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it is no YAML of this form, with line and column; else all that is wrong with its objectives, a line each.
    pub fn parse(text: &str) -> Result<Rules, BadRules> {
        if text.len() > FILE_BYTES_MAX {
            return Err(BadRules(format!("it has {} bytes, more than {FILE_BYTES_MAX}", text.len())));
        }
        // A file of comments alone is nothing, which is no map.
        let read: Option<Rules> = serde_yaml_ng::from_str(text).map_err(|error| BadRules(error.to_string()))?;
        let rules = read.unwrap_or_default();
        let problems = rules.problems();
        if problems.is_empty() { Ok(rules) } else { Err(BadRules(problems.join("\n"))) }
    }

    /// Says in an alert who is told of it and how urgent it is, where it does not say so by itself.
    pub fn address(&self, alert: &mut Alert) {
        let Some(owner) = self.owners.iter().find(|owner| owner.service.fits(&alert.service)) else { return };
        for (says, known) in [(&mut alert.owner, &owner.owner), (&mut alert.severity, &owner.severity)] {
            if says.is_empty() {
                says.clone_from(known);
            }
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.owners.len() > OWNERS_MAX {
            problems.push(format!("there are {} owners, more than {OWNERS_MAX}", self.owners.len()));
        }
        for (at, owner) in self.owners.iter().enumerate() {
            let named = format!("owner {} ({})", at + 1, owner.owner);
            let is_text = |text: &str| text.len() <= NAME_CHARS_MAX && !text.chars().any(char::is_control);
            if owner.owner.is_empty() || !is_text(&owner.owner) || !is_text(&owner.severity) {
                problems.push(format!("{named}: `owner` and `severity` are texts of at most {NAME_CHARS_MAX} bytes, and `owner` is not empty"));
            }
            if self.owners[..at].iter().any(|before| before.service.is_any()) {
                problems.push(format!("{named}: one before it is of any service, so this one is never looked at"));
            }
        }
        if self.objectives.len() > OBJECTIVES_MAX {
            problems.push(format!("there are {} objectives, more than {OBJECTIVES_MAX}", self.objectives.len()));
        }
        for (at, objective) in self.objectives.iter().enumerate() {
            let named = format!("objective {} ({})", at + 1, objective.name);
            if self.objectives[..at].iter().any(|other| other.name == objective.name) {
                problems.push(format!("{named}: there is another one of this name"));
            }
            problems.extend(objective.problems().into_iter().map(|problem| format!("{named}: {problem}")));
        }
        problems
    }
}

impl Objective {
    /// The share of the requests that may be bad.
    pub fn allowed(&self) -> f64 {
        1.0 - self.target / 100.0
    }

    /// Whether `latencies` tells of its requests. Else `edges` does, which also has what no operation has.
    pub fn is_of_operations(&self) -> bool {
        self.operation.is_some() || self.within.is_some()
    }

    pub fn fits(&self, client: &Workload, server: &Workload, protocol: &str) -> bool {
        self.service.fits(server)
            && self.client.as_ref().is_none_or(|clients| clients.fits(client))
            && self.protocol.as_deref().is_none_or(|wanted| wanted == protocol)
    }

    /// What it counts, as a number: what was counted under another one is of no use.
    pub fn meaning(&self) -> u32 {
        let Objective { service, client, protocol, operation, within, failed_connections, .. } = self;
        let counted = (service, client, protocol, operation, within, failed_connections);
        crc32fast::hash(&postcard::to_allocvec(&counted).unwrap_or_default())
    }

    fn problems(&self) -> Vec<String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = !self.name.is_empty() && self.name.len() <= NAME_CHARS_MAX && self.name.chars().all(fits);
        let is_target = self.target > 0.0 && self.target < 100.0;
        let is_within = self.within.is_none_or(|within| within > Span(0) && within <= Span(WITHIN_MAX_US));
        let mut problems: Vec<String> = [
            (is_name, format!("a name has 1 to {NAME_CHARS_MAX} letters, digits, dots, dashes and underscores")),
            (!self.service.is_any(), "`service` names nobody: give its name, its namespace, or both".to_owned()),
            (is_target, format!("target is {}; it must be a percentage above 0 and below 100", self.target)),
            (is_within, format!("`within` must be above 0 and at most {}", Span(WITHIN_MAX_US))),
            (
                !(self.failed_connections && self.is_of_operations()),
                "`failed_connections` is known of all requests together: leave `operation` and `within` out".to_owned(),
            ),
            (!self.burn_rates.is_empty(), "`burn_rates` is empty: leave it out for the usual ones".to_owned()),
            (self.burn_rates.len() <= BURN_RATES_MAX, format!("there are more than {BURN_RATES_MAX} burn rates")),
        ]
        .into_iter()
        .filter_map(|(is_right, problem)| (!is_right).then_some(problem))
        .collect();
        for burn_rate in self.burn_rates.iter().filter(|_| is_target) {
            problems.extend(burn_rate.problem(self.allowed()));
        }
        problems
    }
}

impl BurnRate {
    fn problem(&self, allowed: f64) -> Option<String> {
        let BurnRate { long, short, rate, .. } = self;
        if *short < Span(MINUTE_US) || short >= long || *long > Span(LONG_MAX_US) {
            return Some(format!(
                "the windows {long} and {short}: the short one must be shorter, and at least a minute; the long one at most {}",
                Span(LONG_MAX_US)
            ));
        }
        let is_possible = *rate > 0.0 && rate * allowed <= 1.0;
        (!is_possible).then(|| {
            format!(
                "rate {rate} over {long}: it must be above 0 and at most {:.4}, where all requests are bad",
                1.0 / allowed
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_says_who_promises_what() {
        let rules = Rules::parse(
            "objectives:
- name: orders-answer
  service: {namespace: shop, name: orders}
  target: 99.9
- name: orders-are-quick
  service: {name: orders}
  operation: POST /orders
  within: 300ms
  target: 99
  owner: team-orders
  burn_rates:
  - {long: 1h, short: 5m, rate: 10, severity: page}
",
        )
        .unwrap();
        let [answer, quick] = &rules.objectives[..] else { panic!("{rules:?}") };
        assert_eq!(answer.burn_rates.iter().map(|burn| burn.rate).collect::<Vec<_>>(), [14.4, 6.0, 1.0]);
        assert!((answer.allowed() - 0.001).abs() < 1e-9 && !answer.is_of_operations());
        assert_eq!((quick.within, quick.is_of_operations()), (Some(Span(300_000)), true));
        assert_ne!(answer.meaning(), quick.meaning());
        let orders = |namespace: &str| Workload { namespace: namespace.into(), ..Workload::local("program", "orders") };
        let client = Workload::unknown();
        assert!(answer.fits(&client, &orders("shop"), "http") && !answer.fits(&client, &orders("test"), "http"));
        assert!(quick.fits(&client, &orders("test"), "http"));
    }

    #[test]
    fn the_first_owner_that_fits_is_told_unless_the_alert_says_somebody_else() {
        let rules = Rules::parse(
            "owners:
- {service: {namespace: shop, name: orders}, owner: team-orders, severity: page}
- {service: {namespace: shop}, owner: team-shop}
- {owner: everybody, severity: ticket}
",
        )
        .unwrap();
        let addressed = |namespace: &str, name: &str, owner: &str, severity: &str| {
            let service = Workload { namespace: namespace.into(), ..Workload::local("program", name) };
            let (owner, severity) = (owner.to_owned(), severity.to_owned());
            let mut alert = Alert { service, owner, severity, ..headwater_schemas::samples::alert() };
            rules.address(&mut alert);
            format!("{} {}", alert.owner, alert.severity)
        };
        assert_eq!(addressed("shop", "orders", "", ""), "team-orders page");
        assert_eq!(addressed("shop", "bank", "", ""), "team-shop ");
        assert_eq!(addressed("mail", "orders", "", ""), "everybody ticket");
        assert_eq!(addressed("shop", "orders", "team-slo", ""), "team-slo page");
        assert_eq!(addressed("shop", "orders", "team-slo", "ticket"), "team-slo ticket");
        let told = Rules::parse("owners:\n- {owner: a}\n- {service: {name: b}, owner: ''}\n").unwrap_err().0;
        for expected in ["owner 2 (): one before it is of any service", "owner 2 (): `owner` and `severity` are texts"]
        {
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn nothing_is_a_file_without_objectives() {
        for text in ["", "# later\n", "objectives: []\n"] {
            assert_eq!(Rules::parse(text), Ok(Rules::default()), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let refused = |text: &str| Rules::parse(text).unwrap_err().0;
        let told = refused("objectives:\n- name: a\n  servce: {name: b}\n  target: 99\n");
        assert!(told.contains("servce") && told.contains("line 3"), "{told}");
        let told = refused("objectives:\n- {name: a, service: {name: b}, target: 99, within: soon}\n");
        assert!(told.contains("soon") && told.contains("line 2"), "{told}");
        let told = refused(
            "objectives:
- {name: a, service: {}, target: 100}
- {name: a, service: {name: b}, target: 90}
- {name: c d, service: {name: b}, target: 99, burn_rates: [{long: 5m, short: 5m, rate: 1}]}
- {name: e, service: {name: b}, target: 99, within: 1s, failed_connections: true}
",
        );
        for expected in [
            "objective 1 (a): `service` names nobody",
            "objective 1 (a): target is 100",
            "objective 2 (a): there is another one",
            "objective 2 (a): rate 14.4 over 1h: it must be above 0 and at most 10.0000",
            "objective 3 (c d): a name has",
            "objective 3 (c d): the windows 5m and 5m",
            "objective 4 (e): `failed_connections`",
        ] {
            assert!(told.contains(expected), "{expected} is not in\n{told}");
        }
    }
}
