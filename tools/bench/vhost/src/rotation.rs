//! The buffers that a guest receives in. Its stack holds some of them while others wait in the ring, so what it posts is
//! seldom what it has just taken out: more are in rotation than the ring holds.

pub struct Rotation {
    /// Where the buffer of each descriptor lies.
    posted: Vec<usize>,
    /// Those that the stack holds, of which the one that it has had longest is `oldest`.
    held: Vec<usize>,
    oldest: usize,
}

impl Rotation {
    /// Buffers from `first` on, one every `stride` bytes, of which a ring of so many entries has posted the first ones.
    pub fn new(first: usize, stride: usize, ring: usize, buffers: usize) -> Rotation {
        let all: Vec<usize> = (0..buffers.max(ring)).map(|number| first + number * stride).collect();
        let (posted, held) = all.split_at(ring);
        Rotation { posted: posted.to_vec(), held: held.to_vec(), oldest: 0 }
    }

    /// None at all, for a guest that receives nothing.
    pub fn none() -> Rotation {
        Rotation { posted: vec![], held: vec![], oldest: 0 }
    }

    /// Where descriptor `id`, as the switch says it, has its buffer.
    #[inline(always)]
    pub fn at(&self, id: u32) -> usize {
        self.posted[id as usize % self.posted.len()]
    }

    /// The stack takes this descriptor's buffer: another one, if there are more than the ring holds.
    #[inline(always)]
    pub fn take(&mut self, id: u32) -> Option<usize> {
        let ring = self.posted.len();
        let held = self.held.get_mut(self.oldest)?;
        std::mem::swap(&mut self.posted[id as usize % ring], held);
        self.oldest = (self.oldest + 1) % self.held.len();
        Some(self.at(id))
    }
}

#[cfg(test)]
mod tests {
    use super::Rotation;

    #[test]
    fn each_buffer_is_posted_in_turn() {
        let mut buffers = Rotation::new(100, 10, 2, 5);
        assert_eq!([buffers.at(0), buffers.at(1), buffers.at(3)], [100, 110, 110]);
        let posted: Vec<_> = (0..7).map(|id| buffers.take(id % 2)).collect();
        assert_eq!(posted, [120, 130, 140, 100, 110, 120, 130].map(Some));
        assert_eq!([buffers.at(0), buffers.at(1)], [130, 120]);
    }

    #[test]
    fn as_many_as_the_ring_holds_stay_where_they_are() {
        let mut buffers = Rotation::new(0, 10, 4, 0);
        assert_eq!((buffers.take(3), buffers.at(3)), (None, 30));
    }
}
