//! Classic BPF: the filter programs that libpcap compiles, verified when loaded and then evaluated.
//!
//! The machine is McCanne and Jacobson's: an accumulator `A`, an index register `X`, sixteen words
//! of memory, loads from the packet in network order, and jumps that only go forward, so that every
//! program ends. A load beyond the packet, and a division by zero, reject it.

use std::fmt;

/// One instruction, as libpcap's `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// The most instructions of a program (libpcap's and Linux' `BPF_MAXINSNS`).
pub const INSNS_MAX: usize = 4096;

const WORDS: usize = 16;

/// Instruction codes: class, size or operation, mode or source.
mod code {
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_W_IND: u16 = 0x40;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LD_LEN: u16 = 0x80;
    pub const LDX_IMM: u16 = 0x01;
    pub const LDX_MEM: u16 = 0x61;
    pub const LDX_LEN: u16 = 0x81;
    pub const LDX_MSH: u16 = 0xb1;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ALU: u16 = 0x04;
    pub const JMP: u16 = 0x05;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;

    pub const CLASS: u16 = 0x07;
    /// Operand of ALU and JMP: `X` when set, `k` otherwise.
    pub const X: u16 = 0x08;
    pub const OP: u16 = 0xf0;

    pub const ADD: u16 = 0x00;
    pub const SUB: u16 = 0x10;
    pub const MUL: u16 = 0x20;
    pub const DIV: u16 = 0x30;
    pub const OR: u16 = 0x40;
    pub const AND: u16 = 0x50;
    pub const LSH: u16 = 0x60;
    pub const RSH: u16 = 0x70;
    pub const NEG: u16 = 0x80;
    pub const MOD: u16 = 0x90;
    pub const XOR: u16 = 0xa0;

    pub const JA: u16 = 0x00;
    pub const JEQ: u16 = 0x10;
    pub const JGT: u16 = 0x20;
    pub const JGE: u16 = 0x30;
    pub const JSET: u16 = 0x40;
}

/// Why a program was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProgram {
    Empty,
    TooLong(usize),
    /// The instruction at this index is unknown.
    Unknown(usize),
    /// It jumps beyond the end.
    Jump(usize),
    /// It names a memory word that there is not.
    Memory(usize),
    /// It divides by the constant zero, or shifts by 32 or more.
    Constant(usize),
    /// The last instruction is not a return.
    NoReturn,
}

impl fmt::Display for BadProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadProgram::Empty => write!(f, "the filter has no instructions"),
            BadProgram::TooLong(n) => write!(f, "the filter has {n} instructions; {INSNS_MAX} is the most"),
            BadProgram::Unknown(i) => write!(f, "instruction {i} of the filter is unknown"),
            BadProgram::Jump(i) => write!(f, "instruction {i} of the filter jumps beyond its end"),
            BadProgram::Memory(i) => write!(f, "instruction {i} of the filter names a memory word above 15"),
            BadProgram::Constant(i) => {
                write!(f, "instruction {i} of the filter divides by zero or shifts too far")
            }
            BadProgram::NoReturn => write!(f, "the filter does not end with a return"),
        }
    }
}

impl std::error::Error for BadProgram {}

/// What a program says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it, at most so many bytes of it.
    Keep(u32),
    Reject,
    /// The bytes shown are not enough to tell: ask again with all of them.
    More,
}

/// A verified program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Box<[Insn]>);

impl Program {
    /// Check that `insns` can't do anything but end.
    pub fn new(insns: &[Insn]) -> Result<Program, BadProgram> {
        use code::{ALU, CLASS, DIV, JA, JMP, LSH, MOD, NEG, OP, RSH, X, XOR};
        if insns.is_empty() {
            return Err(BadProgram::Empty);
        }
        if insns.len() > INSNS_MAX {
            return Err(BadProgram::TooLong(insns.len()));
        }
        for (i, insn) in insns.iter().enumerate() {
            let lands = |offset: u32| (offset as usize) < insns.len() - i - 1;
            match insn.code {
                code::LD_W_ABS | code::LD_H_ABS | code::LD_B_ABS => {}
                code::LD_W_IND | code::LD_H_IND | code::LD_B_IND => {}
                code::LD_IMM | code::LD_LEN | code::LDX_IMM | code::LDX_LEN | code::LDX_MSH => {}
                code::RET_K | code::RET_A | code::TAX | code::TXA => {}
                code::LD_MEM | code::LDX_MEM | code::ST | code::STX => {
                    if insn.k as usize >= WORDS {
                        return Err(BadProgram::Memory(i));
                    }
                }
                c if c & CLASS == ALU && c <= 0xff => match (c & OP, c & X) {
                    (NEG, X) => return Err(BadProgram::Unknown(i)),
                    (op, _) if op > XOR => return Err(BadProgram::Unknown(i)),
                    (DIV | MOD, 0) if insn.k == 0 => return Err(BadProgram::Constant(i)),
                    (LSH | RSH, 0) if insn.k > 31 => return Err(BadProgram::Constant(i)),
                    _ => {}
                },
                c if c & CLASS == JMP && c <= 0xff => match (c & OP, c & X) {
                    (JA, 0) if lands(insn.k) => {}
                    (JA, 0) => return Err(BadProgram::Jump(i)),
                    (JA, _) => return Err(BadProgram::Unknown(i)),
                    (op, _) if op > code::JSET => return Err(BadProgram::Unknown(i)),
                    _ if lands(insn.jt.into()) && lands(insn.jf.into()) => {}
                    _ => return Err(BadProgram::Jump(i)),
                },
                _ => return Err(BadProgram::Unknown(i)),
            }
        }
        match insns.last().map(|insn| insn.code) {
            Some(code::RET_K | code::RET_A) => Ok(Program(insns.into())),
            _ => Err(BadProgram::NoReturn),
        }
    }

    /// Evaluate for a packet of `len` bytes that begins with `data`.
    #[must_use]
    pub fn run(&self, data: &[u8], len: u32) -> Verdict {
        match self.evaluate(data, len) {
            Ok(0) => Verdict::Reject,
            Ok(n) => Verdict::Keep(n),
            Err(verdict) => verdict,
        }
    }

    fn evaluate(&self, data: &[u8], len: u32) -> Result<u32, Verdict> {
        let packet = Packet { data, len };
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; WORDS];
        let mut at = 0usize;
        // The program was verified to return; running off its end rejects, like everything odd.
        while let Some(&Insn { code, jt, jf, k }) = self.0.get(at) {
            at += 1;
            match code {
                code::LD_W_ABS => a = packet.word(k)?,
                code::LD_H_ABS => a = packet.half(k)?,
                code::LD_B_ABS => a = packet.byte(k)?,
                code::LD_W_IND => a = packet.word(k.checked_add(x).ok_or(Verdict::Reject)?)?,
                code::LD_H_IND => a = packet.half(k.checked_add(x).ok_or(Verdict::Reject)?)?,
                code::LD_B_IND => a = packet.byte(k.checked_add(x).ok_or(Verdict::Reject)?)?,
                code::LDX_MSH => x = (packet.byte(k)? & 15) * 4,
                code::LD_IMM => a = k,
                code::LDX_IMM => x = k,
                code::LD_LEN => a = len,
                code::LDX_LEN => x = len,
                code::LD_MEM => a = memory[k as usize % WORDS],
                code::LDX_MEM => x = memory[k as usize % WORDS],
                code::ST => memory[k as usize % WORDS] = a,
                code::STX => memory[k as usize % WORDS] = x,
                code::TAX => x = a,
                code::TXA => a = x,
                code::RET_K => return Ok(k),
                code::RET_A => return Ok(a),
                _ => {
                    let operand = if code & code::X == 0 { k } else { x };
                    if code & code::CLASS == code::ALU {
                        a = arithmetic(code & code::OP, a, operand)?;
                    } else {
                        at += jump(code & code::OP, a, operand, k, (jt, jf)) as usize;
                    }
                }
            }
        }
        Err(Verdict::Reject)
    }
}

fn arithmetic(op: u16, a: u32, operand: u32) -> Result<u32, Verdict> {
    Ok(match op {
        code::ADD => a.wrapping_add(operand),
        code::SUB => a.wrapping_sub(operand),
        code::MUL => a.wrapping_mul(operand),
        code::DIV => a.checked_div(operand).ok_or(Verdict::Reject)?,
        code::MOD => a.checked_rem(operand).ok_or(Verdict::Reject)?,
        code::OR => a | operand,
        code::AND => a & operand,
        code::XOR => a ^ operand,
        code::LSH => a.checked_shl(operand).unwrap_or(0),
        code::RSH => a.checked_shr(operand).unwrap_or(0),
        _ => a.wrapping_neg(),
    })
}

/// How many instructions to pass over.
fn jump(op: u16, a: u32, operand: u32, k: u32, (jt, jf): (u8, u8)) -> u32 {
    let taken = match op {
        code::JA => return k,
        code::JEQ => a == operand,
        code::JGT => a > operand,
        code::JGE => a >= operand,
        _ => a & operand != 0,
    };
    u32::from(if taken { jt } else { jf })
}

struct Packet<'a> {
    data: &'a [u8],
    len: u32,
}

impl Packet<'_> {
    #[inline]
    fn bytes<const N: usize>(&self, at: u32) -> Result<[u8; N], Verdict> {
        match self.data.get(at as usize..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => Ok(*bytes),
            None if u64::from(at) + N as u64 <= u64::from(self.len) => Err(Verdict::More),
            None => Err(Verdict::Reject),
        }
    }

    #[inline]
    fn word(&self, at: u32) -> Result<u32, Verdict> {
        Ok(u32::from_be_bytes(self.bytes(at)?))
    }

    #[inline]
    fn half(&self, at: u32) -> Result<u32, Verdict> {
        Ok(u16::from_be_bytes(self.bytes(at)?).into())
    }

    #[inline]
    fn byte(&self, at: u32) -> Result<u32, Verdict> {
        Ok(u8::from_be_bytes(self.bytes(at)?).into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn program(insns: &[(u16, u8, u8, u32)]) -> Result<Program, BadProgram> {
        let insns: Vec<Insn> = insns.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
        Program::new(&insns)
    }

    /// What `tcpdump -dd 'tcp port 80'` prints for IPv4.
    const TCP_PORT_80: &[(u16, u8, u8, u32)] = &[
        (0x28, 0, 0, 12),
        (0x15, 0, 10, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 8, 6),
        (0x28, 0, 0, 20),
        (0x45, 6, 0, 0x1fff),
        (0xb1, 0, 0, 14),
        (0x48, 0, 0, 14),
        (0x15, 2, 0, 80),
        (0x48, 0, 0, 16),
        (0x15, 0, 1, 80),
        (0x06, 0, 0, 262_144),
        (0x06, 0, 0, 0),
    ];

    #[test]
    fn a_filter_filters() {
        let program = program(TCP_PORT_80).unwrap();
        let mut frame = vec![0; 60];
        frame[12..16].copy_from_slice(&[8, 0, 0x46, 0]);
        frame[23] = 6;
        frame[14 + 24 + 2..14 + 24 + 4].copy_from_slice(&[0, 80]);
        assert_eq!(program.run(&frame, 60), Verdict::Keep(262_144));
        assert_eq!(program.run(&frame[..40], 60), Verdict::More);
        assert_eq!(program.run(&frame[..40], 41), Verdict::Reject);
        frame[20] = 1;
        assert_eq!(program.run(&frame, 60), Verdict::Reject);
    }

    #[test]
    fn what_could_go_wrong_is_refused_when_loaded() {
        const RET: (u16, u8, u8, u32) = (6, 0, 0, 1);
        assert_eq!(program(&[]), Err(BadProgram::Empty));
        assert_eq!(program(&[RET; 4097]), Err(BadProgram::TooLong(4097)));
        assert!(program(&[RET; 4096]).is_ok());
        assert_eq!(program(&[(0, 0, 0, 1)]), Err(BadProgram::NoReturn));
        for code in [0x08, 0x18, 0xff, 0xb0, 0x8c, 0xb4, 0x55, 0x0d, 0x104, 0x105, 0x0e, 0x17, 0xa1] {
            assert_eq!(program(&[(code, 0, 0, 1), RET]), Err(BadProgram::Unknown(0)), "{code:#x}");
        }
        for (insn, ok) in [
            ((0x05, 0, 0, 0), true),
            ((0x05, 0, 0, 1), false),
            ((0x05, 0, 0, u32::MAX), false),
            ((0x15, 0, 1, 0), false),
            ((0x1d, 1, 0, 0), false),
        ] {
            assert_eq!(program(&[insn, RET]).err(), (!ok).then_some(BadProgram::Jump(0)));
        }
        for code in [0x60, 0x61, 0x02, 0x03] {
            assert_eq!(program(&[(code, 0, 0, 16), RET]), Err(BadProgram::Memory(0)));
            assert!(program(&[(code, 0, 0, 15), RET]).is_ok());
        }
        for (code, k) in [(0x34, 0), (0x94, 0), (0x64, 32), (0x74, 32)] {
            assert_eq!(program(&[(code, 0, 0, k), RET]), Err(BadProgram::Constant(0)));
        }
    }

    #[test]
    fn odd_arithmetic_has_a_result() {
        for (code, a, x, want) in [
            (0x3c, 7, 0, Verdict::Reject),
            (0x9c, 7, 0, Verdict::Reject),
            (0x6c, 7, 32, Verdict::Reject),
            (0x7c, 7, u32::MAX, Verdict::Reject),
            (0x6c, 1, 31, Verdict::Keep(1 << 31)),
            (0x2c, 1 << 31, 3, Verdict::Keep(1 << 31)),
            (0x84, 1, 0, Verdict::Keep(u32::MAX)),
        ] {
            let program = program(&[(0, 0, 0, a), (1, 0, 0, x), (code, 0, 0, 1), (0x16, 0, 0, 0)]);
            assert_eq!(program.unwrap().run(&[], 0), want, "{code:#x}");
        }
    }

    proptest! {
        /// Programs from noise: most are refused, none panics, and knowing only the beginning of a
        /// packet never gives another verdict than knowing all of it.
        #[test]
        fn noise_is_harmless(
            insns in proptest::collection::vec((any::<u8>(), 0u8..4, 0u8..4, prop_oneof![0u32..70, any::<u32>()]), 1..30),
            data in proptest::collection::vec(any::<u8>(), 0..64),
            cut in 0usize..64,
        ) {
            let mut good: Vec<Insn> = Vec::new();
            for (code, jt, jf, k) in insns {
                let insn = Insn { code: code.into(), jt, jf, k };
                let alone = [insn, Insn { code: 6, jt: 0, jf: 0, k: 0 }];
                if !matches!(Program::new(&alone), Err(BadProgram::Unknown(_))) {
                    good.push(insn);
                }
            }
            good.push(Insn { code: 0x16, jt: 0, jf: 0, k: 0 });
            if let Ok(program) = Program::new(&good) {
                let len = data.len() as u32;
                let all = program.run(&data, len);
                prop_assert_ne!(all, Verdict::More);
                let some = program.run(&data[..cut.min(data.len())], len);
                prop_assert!(some == all || some == Verdict::More);
            }
        }
    }
}
