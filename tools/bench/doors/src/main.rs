//! `doors-load`: what the benchmark of kernel doors runs inside its namespaces, and the plainest switch.
//!
//! Nothing here measures a network by itself: each word is one end of one measurement, and prints one
//! JSON object. `send` and `receive` are datagrams, many in a call; `ask` and `serve` are requests and
//! answers, one at a time; `pour` and `sink` are TCP connections from many namespaces, all of them moved
//! by one process, so that many senders cost no more processes than one. `copy` is no load: it hands
//! frames from one TAP to another and does nothing else.

mod ask;
mod copy;
mod datagrams;
mod pour;
mod words;

use words::Words;

const USAGE: &str = "\
usage: doors-load WORD [options]
  send --to IP:PORT [--rate N] [--payload N] [--seconds N]   datagrams, N a second or as many as go
  receive --at IP:PORT [--seconds N]                         what arrives of them
  serve --at IP:PORT                                         answers every byte, until killed
  ask --to IP:PORT [--seconds N]                             one byte there and back, again and again
  sink --at IP:PORT                                          takes connections and all they bring
  pour --to IP:PORT --from NETNS [--from NETNS].. [--seconds N]   a connection from each namespace
  copy NAME NAME                                             two TAPs, and frames between them";

fn main() {
    let mut argv = std::env::args().skip(1);
    let word = argv.next().unwrap_or_default();
    let result = Words::parse(argv).and_then(|words| match word.as_str() {
        "send" => datagrams::send(&words),
        "receive" => datagrams::receive(&words),
        "serve" => ask::serve(&words),
        "ask" => ask::ask(&words),
        "sink" => pour::sink(&words),
        "pour" => pour::pour(&words),
        "copy" => copy::run(&words),
        _ => Err(format!("what is {word}?\n{USAGE}").into()),
    });
    match result {
        Ok(line) => println!("{line}"),
        Err(why) => {
            eprintln!("doors-load: {why}");
            std::process::exit(1);
        }
    }
}
