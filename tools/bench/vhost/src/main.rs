//! `vhost-load`: two guests (and idle ones) on one core that load a vhost-user switch.
//!
//! Not real guests: their drivers cost next to nothing, so that the switch is the limit and not they.
//! Descriptors are filled once; a transmit buffer is posted again as soon as the switch has used it
//! (only `avail.idx` moves), a receive buffer likewise, in the order in which they came back.
//!
//! But the memory looks as that of guests of Linux does (`drivers/net/virtio_net.c`) that have mergeable buffers and
//! no offloads:
//!  * Receive buffers lie side by side, cut from larger pieces (`add_recvbuf_mergeable`). They are as long as
//!    the frames that came lately, with the header, but 1,518 bytes of frame at least and a page at most, in
//!    whole lines (`get_mergeable_buf_len`): 1,536 bytes each for frames up to 1,518, 4,096 for those of
//!    9,000. The header is at the beginning, the frame right behind it.
//!  * A ring's worth of buffers is in use and no more: pages that were read are the next that are taken, for
//!    the free lists of the kernel give out first what came back last.
//!  * Without VIRTIO_NET_F_CSUM there is no scatter and gather, so a frame to send is in one piece, and its
//!    header in front of it (`xmit_skb`). In front of that are 6 bytes: the room for link layers is 32, and 14 + 12
//!    of it are taken.
//!
//! With `--touch` what the shortest frame has is rewritten at the beginning of every frame before it is sent, and
//! read after it was received, so that these lines really travel between the two cores. A guest of Linux
//! touches all of a frame, on a core of its own. Here one core is both guests, and would be the limit with
//! that, not the switch: at some 43 Gbit/s with frames of 1,518 bytes, whoever switches.
//!
//! Prints one JSON object: what arrived in a second, and in latency mode how long frames took.

mod bare;
mod copy;
mod distance;
mod front;
mod load;
mod options;
mod ring;
mod rotation;
mod times;

use load::Load;
use options::Options;

fn main() {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("vhost-load: {why}\n{}", options::USAGE);
            std::process::exit(2);
        }
    };
    let result = match options.mode {
        options::Mode::Copy => copy::rate(&options),
        options::Mode::BareWake => bare::wake(&options),
        options::Mode::Distance => distance::measure(&options),
        _ => Load::start(options).and_then(Load::run),
    };
    match result {
        Ok(result) => println!("{result}"),
        Err(why) => {
            println!("{{\"error\": {:?}}}", why.to_string());
            std::process::exit(1);
        }
    }
}
