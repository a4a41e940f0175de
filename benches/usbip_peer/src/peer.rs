//! jiegec/usbip with a device that takes anything and gives zeroes, as its examples set one up.

use crate::Fault;
use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};
use usbip::{EndpointAttributes, SetupPacket, UsbDevice, UsbEndpoint, UsbInterface, UsbInterfaceHandler, UsbIpServer};

/// The name that it gives its first device.
pub const BUSID: &str = "0-0-0";

#[derive(Debug)]
struct Endless;

impl UsbInterfaceHandler for Endless {
    fn get_class_specific_descriptor(&self) -> Vec<u8> {
        Vec::new()
    }

    fn handle_urb(
        &mut self,
        _: &UsbInterface,
        endpoint: UsbEndpoint,
        length: u32,
        _: SetupPacket,
        _: &[u8],
    ) -> io::Result<Vec<u8>> {
        Ok(if endpoint.address & 0x80 != 0 { vec![0; length as usize] } else { Vec::new() })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Serves the device until the runtime is dropped.
pub fn serve(addr: SocketAddr) -> Result<Runtime, Fault> {
    let bulk = |address| UsbEndpoint {
        address,
        attributes: EndpointAttributes::Bulk as u8,
        max_packet_size: 512,
        interval: 0,
    };
    let handler: Arc<Mutex<Box<dyn UsbInterfaceHandler + Send>>> = Arc::new(Mutex::new(Box::new(Endless)));
    let device = UsbDevice::new(0).with_interface(0xff, 0, 0, Some("endless"), vec![bulk(0x81), bulk(0x01)], handler);
    let server = Arc::new(UsbIpServer::new_simulated(vec![device]));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.spawn(usbip::server(addr, server));
    Ok(runtime)
}
