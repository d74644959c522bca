/// What passed through a virtual or a real server since it was made, and the rates of the last seconds. All of
/// it stands still with `net.ipv4.vs.run_estimation=0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients, as far as they pass here.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients, as far as they pass here.
    pub bytes_out: u64,
    /// Connections each second.
    pub connection_rate: u64,
    /// Packets from clients each second.
    pub packet_rate_in: u64,
    /// Packets to clients each second.
    pub packet_rate_out: u64,
    /// Bytes from clients each second.
    pub byte_rate_in: u64,
    /// Bytes to clients each second.
    pub byte_rate_out: u64,
}

impl Statistics {
    /// In the order of the kernel's attribute numbers.
    pub(super) fn from_numbers(numbers: [u64; 10]) -> Statistics {
        let [connections, packets_in, packets_out, bytes_in, bytes_out, rates @ ..] = numbers;
        let [connection_rate, packet_rate_in, packet_rate_out, byte_rate_in, byte_rate_out] = rates;
        Statistics {
            connections,
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            connection_rate,
            packet_rate_in,
            packet_rate_out,
            byte_rate_in,
            byte_rate_out,
        }
    }
}
