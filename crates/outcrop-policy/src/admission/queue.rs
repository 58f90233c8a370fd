//! Those who wait, and who holds how much: per priority, per tenant, the earliest deadline first.
//!
//! A tenant that holds nothing and waits for nothing is forgotten, so that the number of tenants is bounded
//! by slots and places (I-6).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use outcrop_core::Priority;

/// Where a waiter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    priority: Priority,
    tenant: Arc<str>,
    deadline: Instant,
    // Of two deadlines that are equal, the first come.
    number: u64,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) waiter: W,
    pub(super) until: Instant,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Tenant<W> {
    // Slots it holds in this priority.
    held: usize,
    waiting: BTreeMap<(Instant, u64), Waiting<W>>,
}

#[derive(Debug)]
struct Line<W> {
    held: usize,
    waiting: usize,
    tenants: HashMap<Arc<str>, Tenant<W>>,
}

/// All lines.
#[derive(Debug)]
pub(super) struct Queue<W> {
    // By priority, `low` first.
    lines: [Line<W>; 5],
    bytes: usize,
    next: u64,
}

impl<W> Default for Tenant<W> {
    fn default() -> Self {
        Self { held: 0, waiting: BTreeMap::new() }
    }
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { held: 0, waiting: 0, tenants: HashMap::new() }
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { lines: std::array::from_fn(|_| Line::default()), bytes: 0, next: 0 }
    }
}

impl<W> Queue<W> {
    /// Everybody who waits.
    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(|line| line.waiting).sum()
    }

    /// Their memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of a priority wait.
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        self.line(priority).waiting
    }

    /// How many slots a priority holds.
    pub(super) fn held(&self, priority: Priority) -> usize {
        self.line(priority).held
    }

    /// How many of a tenant wait.
    pub(super) fn waiting_of(&self, priority: Priority, tenant: &str) -> usize {
        self.line(priority).tenants.get(tenant).map_or(0, |tenant| tenant.waiting.len())
    }

    /// With how many the tenant waits that waits with most.
    pub(super) fn most_of_one(&self, priority: Priority) -> usize {
        self.line(priority).tenants.values().map(|tenant| tenant.waiting.len()).max().unwrap_or(0)
    }

    /// How many would be served before one more of that tenant: all above, and of its own priority those
    /// that come before it when tenants take turns.
    pub(super) fn ahead_of(&self, priority: Priority, tenant: &str) -> usize {
        let above: usize = self.lines.iter().skip(priority as usize + 1).map(|line| line.waiting).sum();
        let line = self.line(priority);
        if line.waiting == 0 {
            return above;
        }
        let own = self.waiting_of(priority, tenant);
        let turns = own.saturating_add(1);
        let others = line.tenants.iter().filter(|(name, _)| &***name != tenant);
        let before: usize = others.map(|(_, other)| other.waiting.len().min(turns)).sum();
        above.saturating_add(own).saturating_add(before)
    }

    /// A tenant holds one more slot.
    pub(super) fn hold(&mut self, priority: Priority, tenant: &Arc<str>) {
        let line = self.line_mut(priority);
        line.held = line.held.saturating_add(1);
        if let Some(known) = line.tenants.get_mut(tenant) {
            known.held = known.held.saturating_add(1);
        } else {
            line.tenants.insert(Arc::clone(tenant), Tenant { held: 1, ..Tenant::default() });
        }
    }

    /// A tenant holds one less.
    pub(super) fn let_go(&mut self, priority: Priority, tenant: &str) {
        let line = self.line_mut(priority);
        let Some(known) = line.tenants.get_mut(tenant) else { return };
        line.held = line.held.saturating_sub(1);
        known.held = known.held.saturating_sub(1);
        line.forget(tenant);
    }

    /// One more waits.
    pub(super) fn push(
        &mut self,
        priority: Priority,
        tenant: Arc<str>,
        deadline: Instant,
        waiting: Waiting<W>,
    ) -> Place {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(waiting.bytes);
        let line = self.line_mut(priority);
        line.waiting = line.waiting.saturating_add(1);
        line.tenants.entry(Arc::clone(&tenant)).or_default().waiting.insert((deadline, number), waiting);
        Place { priority, tenant, deadline, number }
    }

    /// The next: of the tenant that holds the fewest slots, and of those the earliest deadline.
    pub(super) fn pop(&mut self, priority: Priority) -> Option<(Arc<str>, Waiting<W>)> {
        let tenants = &self.line(priority).tenants;
        let heads = tenants.iter().filter_map(|(name, tenant)| {
            let (key, _) = tenant.waiting.first_key_value()?;
            Some(((tenant.held, *key), name))
        });
        let ((_, key), tenant) = heads.min()?;
        let tenant = Arc::clone(tenant);
        let waiting = self.take(priority, &tenant, key)?;
        Some((tenant, waiting))
    }

    /// The last: of the tenant that waits with most, the latest deadline.
    pub(super) fn push_out(&mut self, priority: Priority) -> Option<(Arc<str>, Waiting<W>)> {
        let tenants = &self.line(priority).tenants;
        let tails = tenants.iter().filter_map(|(name, tenant)| {
            let (key, _) = tenant.waiting.last_key_value()?;
            Some(((tenant.waiting.len(), *key), name))
        });
        let ((_, key), tenant) = tails.max()?;
        let tenant = Arc::clone(tenant);
        let waiting = self.take(priority, &tenant, key)?;
        Some((tenant, waiting))
    }

    /// One that leaves by itself.
    pub(super) fn remove(&mut self, place: &Place) -> Option<Waiting<W>> {
        self.take(place.priority, &place.tenant, (place.deadline, place.number))
    }

    fn take(&mut self, priority: Priority, tenant: &str, key: (Instant, u64)) -> Option<Waiting<W>> {
        let line = self.line_mut(priority);
        let waiting = line.tenants.get_mut(tenant)?.waiting.remove(&key)?;
        line.waiting = line.waiting.saturating_sub(1);
        line.forget(tenant);
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    #[cfg(test)]
    pub(super) fn lines_for_test(&self) -> [(usize, usize, usize); 5] {
        self.lines.each_ref().map(|line| (line.held, line.waiting, line.tenants.len()))
    }

    fn line(&self, priority: Priority) -> &Line<W> {
        let [low, medium, high, critical, emergency] = &self.lines;
        match priority {
            Priority::Low => low,
            Priority::Medium => medium,
            Priority::High => high,
            Priority::Critical => critical,
            Priority::Emergency => emergency,
        }
    }

    fn line_mut(&mut self, priority: Priority) -> &mut Line<W> {
        let [low, medium, high, critical, emergency] = &mut self.lines;
        match priority {
            Priority::Low => low,
            Priority::Medium => medium,
            Priority::High => high,
            Priority::Critical => critical,
            Priority::Emergency => emergency,
        }
    }
}

impl<W> Line<W> {
    fn forget(&mut self, tenant: &str) {
        if self.tenants.get(tenant).is_some_and(|known| known.held == 0 && known.waiting.is_empty()) {
            self.tenants.remove(tenant);
        }
    }
}
