//! What becomes of a connection: who is told how it ended, and when it is forgotten.

use super::conn::Role;
use super::guest::Guest;
use super::sockets::{Socket, SocketId, StackError};
use smoltcp::socket::tcp::State;

impl Guest {
    /// Look at what became of a connection, and tell who waits.
    pub(super) fn settle(&mut self, id: SocketId) {
        let Some(conn) = self.sockets.conn(id) else { return };
        let (before, state, over) = (conn.seen, conn.state(), conn.over());
        conn.seen = state;
        match conn.role {
            Role::User => {
                if state == State::Closed && before != State::Closed && conn.error.is_none() {
                    conn.error = match before {
                        State::SynSent => Some(StackError::Refused),
                        State::LastAck | State::Closing | State::TimeWait => None,
                        _ => Some(StackError::Reset),
                    };
                }
                if over {
                    let tuple = conn.tuple;
                    self.tcp.forget(&tuple, id);
                }
                self.notify_conn(id);
            }
            Role::HalfOpen(listener) => match state {
                State::SynReceived => {}
                // A reset put it back to where it began.
                State::Listen | State::Closed => self.discard(id),
                _ => self.queue(listener, id),
            },
            Role::Queued(_) => {
                if over {
                    let tuple = conn.tuple;
                    self.tcp.forget(&tuple, id);
                }
            }
            Role::Orphan => {
                if over {
                    self.discard(id);
                } else if conn.socket().recv_queue() > 0 {
                    // Nobody will read that, and the peer should know (RFC 9293, 3.6).
                    conn.socket().abort();
                    self.sockets.touch(id);
                }
            }
        }
    }

    fn notify_conn(&mut self, id: SocketId) {
        if let Some(conn) = self.sockets.conn(id)
            && conn.want != 0
        {
            let hit = conn.want & conn.ready();
            if hit != 0 {
                conn.want &= !hit;
                self.sockets.news.push((id, hit));
            }
        }
    }

    /// Forget a connection at once.
    pub(super) fn discard(&mut self, id: SocketId) {
        if let Some(Socket::Tcp(conn)) = self.sockets.remove(id) {
            self.tcp.forget(&conn.tuple, id);
            if let Role::HalfOpen(listener) | Role::Queued(listener) = conn.role {
                self.unlist(listener, id);
            }
        }
    }

    /// A connection ends by an error of ours: no answer, no way, or worse.
    pub(super) fn give_up(&mut self, id: SocketId, error: StackError) {
        let Some(conn) = self.sockets.conn(id) else { return };
        match conn.role {
            Role::User => {}
            // Its peer waits for the rest, and should know that there will be none.
            Role::Orphan if conn.state() != State::SynSent => {}
            _ => return self.discard(id),
        }
        if conn.error.is_none() {
            conn.error = Some(error);
        }
        let tuple = conn.tuple;
        if conn.state() == State::SynSent {
            // There is nobody whom a reset would tell anything.
            conn.seen = State::Closed;
            conn.socket().abort();
            conn.silent = true;
            self.tcp.forget(&tuple, id);
            self.notify_conn(id);
        } else {
            conn.socket().abort();
            self.sockets.touch(id);
        }
    }

    /// smoltcp panicked over a connection, so it must not be asked about it again.
    pub(super) fn condemn(&mut self, id: SocketId) {
        let Some(conn) = self.sockets.conn(id) else { return };
        if conn.role != Role::User {
            // Nobody is to be told, and a reset can't be made.
            return self.discard(id);
        }
        (conn.silent, conn.error, conn.seen) = (true, Some(StackError::Reset), State::Closed);
        let (tuple, want) = (conn.tuple, std::mem::take(&mut conn.want));
        conn.socket().abort();
        self.tcp.forget(&tuple, id);
        if want != 0 {
            self.sockets.news.push((id, want));
        }
    }
}
