//! `nat:` through the program: a guest in a namespace of its own, whose way out leads through a switch to the host.

mod datagrams;
mod ends;
mod flows;
mod forwards;
mod hops;
mod lab;
mod load;
mod lossy;
mod ordinary;
mod restricted;
mod streams;
