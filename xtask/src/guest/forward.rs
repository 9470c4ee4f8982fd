//! Passes connections to ports of a guest's loopback interface on to the same ports of the machine.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Serves until it is killed.
pub fn serve(machine: &'static str, ports: &[u16]) -> Result<()> {
    let mut listeners = Vec::new();
    for &port in ports {
        listeners.push((TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("listen on {port}"))?, port));
    }
    let serving = listeners.into_iter().map(|(listener, port)| {
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Err(error) = join(near, machine, port) {
                    eprintln!("guest: a connection to port {port} of the machine: {error}");
                }
            }
        })
    });
    for thread in serving.collect::<Vec<_>>() {
        let _ = thread.join();
    }
    Ok(())
}

fn join(near: TcpStream, machine: &str, port: u16) -> io::Result<()> {
    let far = TcpStream::connect((machine, port))?;
    let (near_too, far_too) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || pass(near, far));
    thread::spawn(move || pass(far_too, near_too));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
