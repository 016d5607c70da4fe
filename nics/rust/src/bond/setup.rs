//! How a bond is set up, and what is to be seen of it.

use super::MEMBERS;
use switch::lacp::{Hashed, PortView, Setup as Lacp};

/// How its cables share the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As both ends agree (802.1AX), and what each port's priority is.
    Lacp { setup: Lacp, priorities: Vec<u16> },
    /// One works, the others wait. Which one is preferred as soon as it can; `None`: whoever works stays.
    ActiveBackup { primary: Option<usize> },
    /// All that have carrier, whatever the other end thinks.
    Static,
}

impl Mode {
    /// As a topology file has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Mode::Lacp { .. } => "lacp",
            Mode::ActiveBackup { .. } => "active-backup",
            Mode::Static => "static",
        }
    }
}

/// A bond of up to [`MEMBERS`] cables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub mode: Mode,
    /// With fewer cables in use there is no carrier.
    pub least: usize,
    pub hashed: Hashed,
    /// Of each cable: what it is called, and the source of what the bond itself sends there.
    pub members: Vec<(String, [u8; 6])>,
}

impl Setup {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let count = self.members.len();
        if !(1..=MEMBERS).contains(&count) {
            return Err(format!("a bond has 1 to {MEMBERS} cables, not {count}"));
        }
        match &self.mode {
            Mode::Lacp { priorities, .. } if priorities.len() != count => {
                Err(format!("{} priorities for {count} cables", priorities.len()))
            }
            Mode::ActiveBackup { primary: Some(primary) } if *primary >= count => {
                Err(format!("cable {primary} of {count} is preferred"))
            }
            _ => Ok(()),
        }
    }
}

/// What is to be seen of one cable.
#[derive(Clone, Debug)]
pub struct MemberView {
    pub name: String,
    pub carrier: bool,
    /// As the operator set it.
    pub up: bool,
    /// What comes in by it is taken; frames are sent by it.
    pub collecting: bool,
    pub distributing: bool,
    /// (frames, bytes) that came in and went out, the bond's own among them.
    pub rx: (u64, u64),
    pub tx: (u64, u64),
    pub lacp: Option<PortView>,
}

/// What is to be seen of a bond.
#[derive(Clone, Debug)]
pub struct View {
    pub mode: &'static str,
    pub least: usize,
    /// The system at the other end: priority and address.
    pub partner: Option<(u16, [u8; 6])>,
    /// How often the cables in use changed.
    pub changes: u64,
    pub members: Vec<MemberView>,
}
