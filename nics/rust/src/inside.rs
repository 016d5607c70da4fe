//! A thread that lives in another network namespace and opens there what is asked for.
//!
//! To join a namespace takes CAP_SYS_ADMIN, which the process gives up once its doors are open. An interface
//! that goes and comes again needs new sockets later, and what is left is enough for those: so the thread
//! joins at the beginning, and waits. It is confined like every other.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// See the top of this file. It ends when this is dropped.
#[derive(Debug)]
pub struct Inside {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Inside {
    /// In the network namespace of this descriptor.
    pub fn new(netns: &OwnedFd) -> io::Result<Self> {
        let netns = netns.try_clone()?;
        let (jobs, todo) = mpsc::channel::<Job>();
        let work = move || todo.into_iter().for_each(|job| job());
        let inside = Inside {
            thread: Some(Builder::new().name("vnet-netns".into()).stack_size(256 << 10).spawn(work)?),
            jobs: Some(jobs),
        };
        inside.run(move || {
            // SAFETY: setns takes no pointer.
            match unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })?;
        Ok(inside)
    }

    /// What `job` comes to in there. The caller waits.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the thread of the namespace has ended");
        let (tell, told) = mpsc::sync_channel(1);
        let job = move || {
            let _ = tell.send(job());
        };
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(job)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
