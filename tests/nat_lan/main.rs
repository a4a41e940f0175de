//! The services of a segment behind `nat:`, as the usual clients of an ordinary user meet them: nothing is configured by
//! hand.

mod addresses;
mod boot;
mod clients;
mod dhcp_hosts;
mod files;
mod guest;
mod lab;
mod names;
mod restricted;
mod stuck;
