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
