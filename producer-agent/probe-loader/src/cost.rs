//! What the probes' programs cost: they measure their own runs as long as they are told to.

use aya::maps::{Array, Map, MapData, PerCpuArray};
use headwater_probe_types::cost::{Cost, PROGRAMS};

use crate::{LoadError, map_error};

/// The word that has them measure, and what they measured.
pub struct Costs {
    measuring: Array<MapData, u32>,
    costs: PerCpuArray<MapData, Plain>,
}

/// A [`Cost`] as the kernel's bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Cost);

// SAFETY: two integers without padding, for which any bytes are a value.
unsafe impl aya::Pod for Plain {}

impl Costs {
    pub(crate) fn open(measuring: Map, costs: Map) -> Result<Costs, LoadError> {
        Ok(Costs {
            measuring: Array::try_from(measuring).map_err(map_error)?,
            costs: PerCpuArray::try_from(costs).map_err(map_error)?,
        })
    }

    /// Has the runs from now on measured, or not.
    pub fn measure(&mut self, measures: bool) -> Result<(), LoadError> {
        self.measuring.set(0, u32::from(measures), 0).map_err(map_error)
    }

    /// What was measured since the start, by program, of all processors.
    pub fn read(&self) -> Result<[Cost; PROGRAMS], LoadError> {
        let mut sums = [Cost::default(); PROGRAMS];
        for (index, sum) in sums.iter_mut().enumerate() {
            for Plain(cost) in self.costs.get(&(index as u32), 0).map_err(map_error)?.iter() {
                sum.runs += cost.runs;
                sum.time_ns += cost.time_ns;
            }
        }
        Ok(sums)
    }
}
