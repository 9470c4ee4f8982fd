//! `oracle-fleet FIRST COUNT`: the watches of that many agents, for the nodes `fleet-FIRST` and those after it, as the product has them.
//!
//! KUBECONFIG says where the API server is. For each line of its input it prints one line: how many watches have read a whole list, and how
//! many pods were seen, pods deleted, lists begun and errors made by all of them since the start.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use headwater_kubernetes::{Options, PodNews, Watch};

#[derive(Default)]
struct Totals {
    listed: AtomicU64,
    seen: AtomicU64,
    deleted: AtomicU64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let usage = "usage: oracle-fleet FIRST COUNT";
    let first = arguments.next().context(usage)?.context(usage)?;
    let count = arguments.next().context(usage)?.context(usage)?;
    let totals: Arc<Totals> = Arc::default();
    let watches: Result<Vec<Watch>> = (first..first + count).map(|number| watch(number, &totals)).collect();
    let watches = watches?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let sum = |of: fn(&headwater_kubernetes::Counts) -> &AtomicU64| -> u64 {
            watches.iter().map(|watch| of(watch.counts()).load(Ordering::Relaxed)).sum()
        };
        let [listed, seen, deleted] =
            [&totals.listed, &totals.seen, &totals.deleted].map(|count| count.load(Ordering::Relaxed));
        println!("{listed} {seen} {deleted} {} {}", sum(|counts| &counts.lists), sum(|counts| &counts.errors));
    }
    Ok(())
}

fn watch(number: u32, totals: &Arc<Totals>) -> Result<Watch> {
    let totals = Arc::clone(totals);
    let mut is_first = true;
    let sink = move |news| {
        match news {
            PodNews::ListEnds => {
                totals.listed.fetch_add(u64::from(std::mem::take(&mut is_first)), Ordering::Relaxed);
            }
            PodNews::Seen(_) => {
                totals.seen.fetch_add(1, Ordering::Relaxed);
            }
            PodNews::Deleted(_) => {
                totals.deleted.fetch_add(1, Ordering::Relaxed);
            }
            PodNews::ListBegins => {}
        }
        true
    };
    Ok(Watch::start(Options { node: format!("fleet-{number}"), labels: vec![] }, Arc::default(), sink)?)
}
