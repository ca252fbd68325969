//! A table of live entries addressed by packed ids: the id names the place and proves that the entry is still the same one.

/// Entries with a raw packed id (`sequence << bits | slot`), freed places reused, sequence numbers never.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    next_sequence: u64,
    live: usize,
    slot_bits: u32,
}

impl<T> Slab<T> {
    pub(super) fn new(slot_bits: u32) -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new(), next_sequence: 0, live: 0, slot_bits }
    }

    /// Puts in the entry that `make` builds from its new id.
    #[inline]
    pub(super) fn insert(&mut self, make: impl FnOnce(u64) -> T) -> u64 {
        let slot = self.free.pop().map_or(self.entries.len(), |slot| slot as usize);
        assert!(slot < 1 << self.slot_bits, "more than 2^{} live entries", self.slot_bits);
        let id = self.next_sequence << self.slot_bits | slot as u64;
        self.next_sequence += 1;
        self.live += 1;
        let entry = Some((id, make(id)));
        if slot == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[slot] = entry;
        }
        id
    }

    #[inline]
    fn slot(&self, id: u64) -> usize {
        (id & ((1 << self.slot_bits) - 1)) as usize
    }

    /// The entry of this id, if it still lives.
    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<&T> {
        match self.entries.get(self.slot(id)) {
            Some(Some((found, entry))) if *found == id => Some(entry),
            _ => None,
        }
    }

    /// The entry of this id, if it still lives.
    #[inline]
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.slot(id);
        match self.entries.get_mut(slot) {
            Some(Some((found, entry))) if *found == id => Some(entry),
            _ => None,
        }
    }

    /// The entry in this place, whichever it is.
    #[inline]
    pub(super) fn at(&self, slot: usize) -> Option<&T> {
        self.entries.get(slot)?.as_ref().map(|(_, entry)| entry)
    }

    /// Takes the entry out; its id is dead from now on.
    #[inline]
    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = self.slot(id);
        match self.entries.get(slot) {
            Some(Some((found, _))) if *found == id => {}
            _ => return None,
        }
        self.free.push(slot as u32);
        self.live -= 1;
        self.entries[slot].take().map(|(_, entry)| entry)
    }

    /// The live entries, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten().map(|(_, entry)| entry)
    }

    /// The free places, the next one to be used last.
    pub(super) fn free(&self) -> &[u32] {
        &self.free
    }

    /// How many places there are, free ones included.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// A slab with these rows (and their ids) and free places; `None` where they do not fit together.
    pub(super) fn restore(
        slot_bits: u32,
        rows: impl ExactSizeIterator<Item = (u64, T)>,
        free: Vec<u32>,
        next_sequence: u64,
    ) -> Option<Slab<T>> {
        let (live, places) = (rows.len(), rows.len() + free.len());
        let mut entries: Vec<Option<(u64, T)>> = Vec::new();
        entries.resize_with(places, || None);
        let mut slab = Slab { entries, free, next_sequence, live, slot_bits };
        for (id, row) in rows {
            let slot = slab.slot(id);
            let place = slab.entries.get_mut(slot).filter(|place| place.is_none())?;
            if id >> slot_bits >= next_sequence {
                return None;
            }
            *place = Some((id, row));
        }
        // As many free places as are empty, each of them once.
        let mut empty = slab.free.clone();
        empty.sort_unstable();
        empty.dedup();
        let fits = |slot: &u32| slab.entries.get(*slot as usize).is_some_and(Option::is_none);
        (empty.len() == slab.free.len() && empty.iter().all(fits)).then_some(slab)
    }

    /// How many live.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// How many ids were ever given.
    pub(super) fn ever(&self) -> u64 {
        self.next_sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_does_not_answer_to_the_old_id() {
        let mut slab = Slab::new(20);
        let first = slab.insert(|_| "first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert(|_| "second");
        assert_eq!(slab.slot(first), slab.slot(second));
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!((slab.len(), slab.ever()), (1, 2));
    }
}
