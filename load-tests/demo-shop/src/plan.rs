//! What the load generator sends: an endless list of requests that a seed and a rate decide alone.
//!
//! Every 20 requests hold the same mix in another order, so that each edge of the shop carries traffic in every
//! second at the default rate. What is expected of a request holds in a shop without a fault in which no other load
//! used the same seed. Bounds: the plan remembers the latest 20 orders and those not yet settled.

use std::collections::VecDeque;

use headwater_testing::Random;
use serde::{Deserialize, Serialize};

/// The catalog's size, as the plan and the catalog both know it.
pub const PRODUCTS: i64 = 100;
pub const PRODUCTS_PER_PAGE: i64 = 10;
pub const CATALOG_PAGES: i64 = PRODUCTS / PRODUCTS_PER_PAGE;

/// An order is asked about this long after it was placed at the earliest: shipping works in the background.
const SETTLE_SECONDS: f64 = 3.0;
/// Few, so that orders which failed in a fault are soon not asked about any more.
const ORDERS_REMEMBERED_MAX: usize = 20;
/// Leaves room for a billion requests a seed in the 64 bits of an order's number.
const ORDERS_PER_SEED: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Home,
    BrowseCatalog,
    ViewProduct,
    ViewUnknownProduct,
    PlaceOrder,
    OrderStatus,
    TrackShipment,
}

/// How often each operation comes in every 20 requests.
const MIX: [(Operation, usize); 7] = [
    (Operation::Home, 1),
    (Operation::BrowseCatalog, 6),
    (Operation::ViewProduct, 6),
    (Operation::ViewUnknownProduct, 1),
    (Operation::PlaceOrder, 3),
    (Operation::OrderStatus, 2),
    (Operation::TrackShipment, 1),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRequest {
    /// Its place in the plan, from 0.
    pub index: u64,
    pub operation: Operation,
    pub method: &'static str,
    pub path: String,
    /// A JSON body.
    pub body: Option<String>,
    pub expected_status: u16,
}

/// The plan, as an iterator without an end.
pub struct Plan {
    seed: u32,
    random: Random,
    settle_requests: u64,
    next_index: u64,
    /// What is left of the current 20.
    block: Vec<Operation>,
    /// The indexes of the requests that placed orders, oldest first.
    unsettled: VecDeque<u64>,
    settled: VecDeque<u64>,
}

impl Plan {
    /// `rate` is in requests a second; it decides how many requests lie between an order and the first question about
    /// it.
    pub fn new(seed: u32, rate: f64) -> Self {
        Self {
            seed,
            random: Random::new(u64::from(seed)),
            settle_requests: (SETTLE_SECONDS * rate).ceil() as u64,
            next_index: 0,
            block: Vec::new(),
            unsettled: VecDeque::new(),
            settled: VecDeque::new(),
        }
    }

    fn next_operation(&mut self) -> Operation {
        if self.block.is_empty() {
            self.block = MIX.iter().flat_map(|&(operation, count)| std::iter::repeat_n(operation, count)).collect();
            for last in (1..self.block.len()).rev() {
                self.block.swap(last, self.random.below(last as u64 + 1) as usize);
            }
        }
        // The block was just filled if it was empty.
        self.block.pop().unwrap_or(Operation::Home)
    }

    /// Moves orders that are old enough to those that may be asked about, and picks one of these.
    fn settled_order(&mut self, now: u64) -> Option<u64> {
        while let Some(placed) = self.unsettled.pop_front_if(|placed| *placed + self.settle_requests <= now) {
            if self.settled.len() == ORDERS_REMEMBERED_MAX {
                self.settled.pop_front();
            }
            self.settled.push_back(placed);
        }
        if self.settled.is_empty() {
            return None;
        }
        let pick = self.random.below(self.settled.len() as u64) as usize;
        self.settled.get(pick).map(|index| self.order_id(*index))
    }

    fn order_id(&self, index: u64) -> u64 {
        u64::from(self.seed) * ORDERS_PER_SEED + index
    }

    fn product(&mut self) -> u64 {
        1 + self.random.below(PRODUCTS as u64)
    }
}

impl Iterator for Plan {
    type Item = PlannedRequest;

    fn next(&mut self) -> Option<PlannedRequest> {
        let index = self.next_index;
        self.next_index += 1;
        let mut operation = self.next_operation();
        let mut order = None;
        if matches!(operation, Operation::OrderStatus | Operation::TrackShipment) {
            order = self.settled_order(index);
            if order.is_none() {
                // In the first seconds no order is old enough.
                operation = Operation::ViewProduct;
            }
        }
        let order = order.unwrap_or_else(|| self.order_id(index));
        let (method, path, body, expected_status) = match operation {
            Operation::Home => ("GET", "/".to_owned(), None, 200),
            Operation::BrowseCatalog => {
                ("GET", format!("/catalog?page={}", self.random.below(CATALOG_PAGES as u64)), None, 200)
            }
            Operation::ViewProduct => ("GET", format!("/products/{}", self.product()), None, 200),
            Operation::ViewUnknownProduct => {
                ("GET", format!("/products/{}", PRODUCTS as u64 + self.product()), None, 404)
            }
            Operation::PlaceOrder => {
                self.unsettled.push_back(index);
                let (product, quantity) = (self.product(), 1 + self.random.below(5));
                let body = format!(r#"{{"product":{product},"quantity":{quantity}}}"#);
                ("PUT", format!("/orders/{order}"), Some(body), 201)
            }
            Operation::OrderStatus => ("GET", format!("/orders/{order}"), None, 200),
            Operation::TrackShipment => ("GET", format!("/shipments/{order}"), None, 200),
        };
        Some(PlannedRequest { index, operation, method, path, body, expected_status })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;

    fn plan(seed: u32, count: usize) -> Vec<PlannedRequest> {
        Plan::new(seed, 20.0).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(plan(7, 5_000), plan(7, 5_000));
        assert_ne!(plan(7, 100), plan(8, 100));
    }

    #[test]
    fn every_block_of_20_has_the_whole_mix() {
        // The first blocks lack questions about orders, since no order is old enough.
        for block in plan(3, 20 * 50).chunks(20).skip(5) {
            let mut counts = BTreeMap::new();
            for request in block {
                *counts.entry(request.operation).or_insert(0) += 1;
            }
            assert_eq!(counts, BTreeMap::from(MIX));
        }
    }

    #[test]
    fn orders_are_placed_once_and_asked_about_only_when_they_settled() {
        let (mut placed, mut asked) = (HashMap::new(), HashSet::new());
        for request in plan(u32::MAX, 20_000) {
            let id: Option<i64> = request.path.rsplit('/').next().unwrap().parse().ok();
            match request.operation {
                Operation::PlaceOrder => assert_eq!(placed.insert(id.unwrap(), request.index), None),
                Operation::OrderStatus | Operation::TrackShipment => {
                    assert!(request.index - placed[&id.unwrap()] >= 60);
                    asked.insert(id);
                }
                _ => {}
            }
        }
        assert!(placed.len() >= 2_900 && asked.len() > 1_000);
    }

    #[test]
    fn memory_is_bounded() {
        let mut plan = Plan::new(1, 20.0);
        for _ in plan.by_ref().take(100_000) {}
        assert!(plan.settled.len() <= ORDERS_REMEMBERED_MAX && plan.unsettled.len() <= 40);
    }
}
