//! `vhost-load`: two guests (and idle ones) on one core that load a vhost-user switch.
//!
//! Not real guests: their drivers cost next to nothing, so that the switch is the limit and not they.
//! Descriptors are filled once; a transmit buffer is posted again as soon as the switch has used it
//! (only `avail.idx` moves), a receive buffer likewise. With `--touch` the first 64 bytes of every
//! frame are rewritten before it is sent and read after it was received, so that the lines really
//! travel between the two cores as they do with guests that use their data.
//!
//! Prints one JSON object: what arrived in a second, and in latency mode how long frames took.

mod copy;
mod front;
mod load;
mod options;
mod ring;

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
    let result = if options.mode == options::Mode::Copy {
        copy::rate(&options)
    } else {
        Load::start(options).and_then(Load::run)
    };
    match result {
        Ok(result) => println!("{result}"),
        Err(why) => {
            println!("{{\"error\": {:?}}}", why.to_string());
            std::process::exit(1);
        }
    }
}
