//! A bounded ring of bytes from one thread to another, for writers that must never wait.
//!
//! The producer copies whole records in or, when there is no room, not at all; it never waits, and
//! makes a system call only in [`Producer::wake`] when the consumer sleeps. The consumer sees the
//! bytes where they lie.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;

/// `head` and `tail` count bytes for ever and wrap with the integer; only their difference and
/// their value modulo the capacity, a power of two, mean something. Bytes from `tail` to `head`
/// belong to the consumer, the others to the producer.
#[derive(Debug)]
struct Shared {
    bytes: Box<[UnsafeCell<u8>]>,
    head: Line<AtomicUsize>,
    tail: Line<AtomicUsize>,
    closed: AtomicBool,
}

/// A cache line of its own, so that the two sides don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

// SAFETY: bytes are only reached through the one Producer and the one Consumer, which by `head` and
// `tail` never touch the same byte at a time; the Release store that hands bytes over is read by an
// Acquire load before they are touched.
unsafe impl Sync for Shared {}

/// The side that puts bytes in.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    head: usize,
    /// `tail` as it was last looked at; the true one can only be further on.
    tail: usize,
    consumer: Option<Thread>,
    dirty: bool,
}

/// The side that takes them out.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    tail: usize,
}

/// A ring of at least `capacity` bytes.
#[must_use]
pub fn ring(capacity: usize) -> (Producer, Consumer) {
    let capacity = capacity.clamp(64, 1 << 40).next_power_of_two();
    let shared = Arc::new(Shared {
        bytes: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
        head: Line::default(),
        tail: Line::default(),
        closed: AtomicBool::new(false),
    });
    let producer = Producer { shared: shared.clone(), head: 0, tail: 0, consumer: None, dirty: false };
    (producer, Consumer { shared, tail: 0 })
}

impl Shared {
    /// The run of `len` bytes that begins at `at`, in its two pieces: (pointer, length) each.
    fn pieces(&self, at: usize, len: usize) -> [(*mut u8, usize); 2] {
        let capacity = self.bytes.len();
        let first = at & (capacity - 1);
        let upto = len.min(capacity - first);
        // The base pointer is that of the whole slice, so it may be used for all of it.
        let base = self.bytes.as_ptr().cast::<u8>().cast_mut();
        [(base.wrapping_add(first), upto), (base, len - upto)]
    }
}

impl Producer {
    /// Whom to wake: the thread that has the other side.
    pub fn set_consumer(&mut self, thread: Thread) {
        self.consumer = Some(thread);
    }

    /// Put all of `bytes` in; false when there is no room for all of them.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if !self.has_room(bytes.len()) {
            return false;
        }
        let [(a, a_len), (b, b_len)] = self.shared.pieces(self.head, bytes.len());
        // SAFETY: the pieces are within the ring and, as there is room, beyond what the consumer
        // may read; `bytes` is borrowed from elsewhere, so nothing overlaps.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), a, a_len);
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(a_len), b, b_len);
        }
        self.advance(bytes.len());
        true
    }

    #[inline]
    fn has_room(&mut self, len: usize) -> bool {
        let capacity = self.shared.bytes.len();
        if capacity - self.head.wrapping_sub(self.tail) >= len {
            return true;
        }
        self.tail = self.shared.tail.0.load(Ordering::Acquire);
        capacity - self.head.wrapping_sub(self.tail) >= len
    }

    /// Hand `len` bytes over.
    #[inline]
    fn advance(&mut self, len: usize) {
        self.head = self.head.wrapping_add(len);
        self.shared.head.0.store(self.head, Ordering::Release);
        self.dirty = true;
    }

    /// Put in a record of `len` bytes, which `fill` writes; false, without asking it, when there is no room.
    /// What it doesn't write is not defined, but safe to read.
    #[inline]
    pub fn push_with(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if !self.has_room(len) {
            return false;
        }
        let [(a, a_len), (_, b_len)] = self.shared.pieces(self.head, len);
        if b_len > 0 {
            // At the ring's end: a detour.
            let mut record = vec![0; len];
            fill(&mut record);
            return self.push(&record);
        }
        // SAFETY: as in `push`; the bytes were initialised when the ring was made, and nobody else has them
        // until `head` is stored.
        fill(unsafe { std::slice::from_raw_parts_mut(a, a_len) });
        self.advance(len);
        true
    }

    /// Wake the consumer if it sleeps and something was put in since the last call.
    #[inline]
    pub fn wake(&mut self) {
        if self.dirty {
            self.dirty = false;
            if let Some(thread) = &self.consumer {
                thread.unpark();
            }
        }
    }

    /// Nothing more will come.
    pub fn close(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.dirty = true;
        self.wake();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Consumer {
    /// What there is, oldest first, in two runs of which either may be empty.
    #[must_use]
    pub fn peek(&self) -> [&[u8]; 2] {
        let head = self.shared.head.0.load(Ordering::Acquire);
        self.shared.pieces(self.tail, head.wrapping_sub(self.tail)).map(|(start, len)| {
            // SAFETY: within the ring and between tail and head, where the producer doesn't write
            // until `consume`, which needs `&mut self` and so ends this borrow.
            unsafe { std::slice::from_raw_parts(start, len) }
        })
    }

    /// The first `n` bytes of what was seen are done with.
    pub fn consume(&mut self, n: usize) {
        let head = self.shared.head.0.load(Ordering::Acquire);
        assert!(n <= head.wrapping_sub(self.tail));
        self.tail = self.tail.wrapping_add(n);
        self.shared.tail.0.store(self.tail, Ordering::Release);
    }

    /// Whether nothing more will come. What came before is still there to be taken.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Sleep until there is something or nothing more will come. Only for the thread that the
    /// producer was told of.
    pub fn wait(&self) {
        while self.shared.head.0.load(Ordering::Acquire) == self.tail && !self.closed() {
            std::thread::park();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let (mut producer, mut consumer) = ring(64);
        assert!(producer.push(&[1; 40]));
        assert!(!producer.push(&[2; 25]));
        assert!(producer.push(&[3; 24]));
        assert!(!producer.push(&[4]));
        assert!(producer.push(&[]));
        assert_eq!(consumer.peek().concat(), [[1; 40].as_slice(), &[3; 24]].concat());
        consumer.consume(41);
        assert!(producer.push(&[5; 41]));
        assert_eq!(consumer.peek().concat(), [[3; 23].as_slice(), &[5; 41]].concat());
        assert_eq!(consumer.peek()[0].len(), 23);
    }

    #[test]
    fn what_is_written_in_place_is_what_comes_out() {
        let (mut producer, mut consumer) = ring(64);
        for round in 1..50u8 {
            // 24 does not divide 64: some lie around the end.
            assert!(producer.push_with(24, |place| place.copy_from_slice(&[round; 24])));
            assert!(producer.push_with(24, |place| place.copy_from_slice(&[round; 24])));
            assert!(!producer.push_with(24, |_| unreachable!()));
            assert_eq!(consumer.peek().concat(), [round; 48]);
            consumer.consume(48);
        }
    }

    #[test]
    fn counters_may_wrap() {
        let (mut producer, mut consumer) = ring(64);
        let start = usize::MAX - 10;
        (producer.head, producer.tail, consumer.tail) = (start, start, start);
        producer.shared.head.0.store(start, Ordering::Relaxed);
        producer.shared.tail.0.store(start, Ordering::Relaxed);
        for round in 0..20u8 {
            assert!(producer.push(&[round; 50]));
            assert!(!producer.push(&[0; 15]));
            assert_eq!(consumer.peek().concat(), [round; 50]);
            consumer.consume(50);
        }
    }

    #[test]
    fn two_threads_agree() {
        let (mut producer, mut consumer) = ring(256);
        let thread = std::thread::spawn(move || {
            let mut all = vec![];
            loop {
                consumer.wait();
                let closed = consumer.closed();
                let seen = consumer.peek().concat();
                consumer.consume(seen.len());
                all.extend(seen);
                if closed {
                    return all;
                }
            }
        });
        producer.set_consumer(thread.thread().clone());
        let mut want = vec![];
        for i in 0..20_000u32 {
            let record = vec![i as u8; i as usize % 97];
            while !producer.push(&record) {
                producer.wake();
                std::thread::yield_now();
            }
            want.extend(record);
            producer.wake();
        }
        drop(producer);
        assert!(thread.join().unwrap() == want);
    }
}
