//! Public addresses, interfaces and TCP connections.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_smbshim::structures::address::{
    self, AddressInfo, Interface, PublicIp, PublicIpInfo, TickleList,
};
use bateria_wire::Pnn;
use std::net::SocketAddr;

impl Connection {
    /// The addresses that the node is configured with, each with its believed holder.
    pub fn get_public_ips(
        &mut self,
        target: Pnn,
        only_available: bool,
    ) -> Result<Vec<PublicIp>, ClientFault> {
        self.data(target, &ControlRequest::GetPublicIps { only_available }, pick!(PublicIps))
    }

    pub fn get_public_ip_info(
        &mut self,
        target: Pnn,
        address: SocketAddr,
    ) -> Result<PublicIpInfo, ClientFault> {
        self.data(target, &ControlRequest::GetPublicIpInfo(address), pick!(PublicIpInfo))
    }

    pub fn add_public_ip(&mut self, target: Pnn, info: AddressInfo<'_>) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::AddPublicIp(info))
    }

    pub fn del_public_ip(&mut self, target: Pnn, info: AddressInfo<'_>) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DelPublicIp(info))
    }

    pub fn reload_public_ips(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::ReloadPublicIps)
    }

    pub fn takeover_ip(&mut self, target: Pnn, address: SocketAddr) -> Result<(), ClientFault> {
        let ip = PublicIp { holder: target, address };
        self.done(target, &ControlRequest::TakeoverIp(ip))
    }

    /// `holder` is the node that has the address next.
    pub fn release_ip(
        &mut self,
        target: Pnn,
        holder: Pnn,
        address: SocketAddr,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::ReleaseIp(PublicIp { holder, address }))
    }

    pub fn ip_reallocated(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::IpReallocated)
    }

    pub fn send_gratuitous_arp(
        &mut self,
        target: Pnn,
        info: AddressInfo<'_>,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SendGratuitousArp(info))
    }

    pub fn get_interfaces(&mut self, target: Pnn) -> Result<Vec<Interface>, ClientFault> {
        self.data(target, &ControlRequest::GetIfaces, pick!(Interfaces))
    }

    pub fn set_link_state(&mut self, target: Pnn, interface: Interface) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetIfaceLinkState(interface))
    }

    /// Says that this process serves a TCP connection; nobody answers.
    pub fn tcp_client(&mut self, tcp: address::Connection) -> Result<(), ClientFault> {
        self.control_without_reply(Pnn::CURRENT, &ControlRequest::TcpClient(tcp))
    }

    /// Says that a TCP connection has ended; nobody answers.
    pub fn tcp_client_disconnected(&mut self, tcp: address::Connection) -> Result<(), ClientFault> {
        self.control_without_reply(Pnn::CURRENT, &ControlRequest::TcpClientDisconnected(tcp))
    }

    /// Says that another process serves a TCP connection now; nobody answers.
    pub fn tcp_client_passed(&mut self, tcp: address::Connection) -> Result<(), ClientFault> {
        self.control_without_reply(Pnn::CURRENT, &ControlRequest::TcpClientPassed(tcp))
    }

    /// The TCP connections to a public address; port 0 means those of all services.
    pub fn get_tickles(
        &mut self,
        target: Pnn,
        address: SocketAddr,
    ) -> Result<TickleList, ClientFault> {
        self.data(target, &ControlRequest::GetTcpTickleList(address), pick!(TickleList))
    }

    pub fn add_tickle(&mut self, target: Pnn, tcp: address::Connection) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::TcpAddDelayedUpdate(tcp))
    }

    pub fn remove_tickle(
        &mut self,
        target: Pnn,
        tcp: address::Connection,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::TcpRemove(tcp))
    }
}
