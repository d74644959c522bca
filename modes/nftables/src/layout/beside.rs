//! What differs in the table beside virtual servers.
//!
//! IPVS translates behind the filter for what comes in, but before it for what is sent from here. What it has translated,
//! wherever from, it sends through the output hook once more, not marked as translated. Only chains of NAT are passed by then,
//! so packets of the host itself are filtered there. And the addresses that it serves are this host's own: nothing but a
//! virtual server may answer there.

use kubeweir_netfilter::expr::Verdict;
use kubeweir_netfilter::{Field, Match, Rule, Statement};

use super::{Build, Translation, frontend_in, in_set, jump, new, untouched, verdict};
use crate::names::{List, Place, SetId, hairpin_fields};

/// The chain that closes everything but virtual servers.
pub(super) const CLOSED: &str = "closed-server-ports";

impl Build<'_> {
    pub(super) fn is_beside_servers(&self) -> bool {
        self.translation == Translation::VirtualServers
    }

    /// An address that this node has taken on is its own to the kernel, but no place for NodePorts.
    pub(super) fn not_bound(&self) -> Option<Statement> {
        let (key, set) = (vec![Field::DestinationAddress], SetId::BoundIps.to_string());
        self.is_beside_servers().then_some(Statement::Match(Match::NotInSet { key, set }))
    }

    /// At an address of this node's own a Service may have a virtual server whose port is some NodePort too.
    pub(super) fn no_node_port(&self, place: Place) -> Option<Rule> {
        let is_here = self.is_beside_servers() && place == Place::NodePort;
        let served = frontend_in(Place::Service, SetId::VirtualServers);
        is_here.then(|| self.rule([served, verdict(Verdict::Return)]))
    }

    /// To an address that this node has taken on.
    pub(super) fn shield(&self) -> Option<Rule> {
        let bound = in_set(vec![Field::DestinationAddress], SetId::BoundIps);
        self.is_beside_servers().then(|| self.rule(untouched().chain([bound, jump(CLOSED)])))
    }

    /// What is no virtual server's is what it would be without us: a ClusterIP refuses it, and with other addresses it would pass
    /// by; here it ends, since the host itself must not answer.
    pub(super) fn closed_server_ports(&self) -> Vec<Rule> {
        let cluster_ip = in_set(vec![Field::DestinationAddress], SetId::ClusterIps);
        vec![
            self.rule([frontend_in(Place::Service, SetId::VirtualServers), verdict(Verdict::Return)]),
            self.rule([cluster_ip, Statement::Reject]).comment("no Service has this port"),
            self.rule([verdict(Verdict::Drop)]).comment("not the host's either"),
        ]
    }

    /// What becomes of the host's own packets before `further` rules see them. It talks to an address that it has taken on *from*
    /// that address, which is of no use as a source elsewhere.
    pub(super) fn own_packets(&self, further: Vec<Rule>) -> Vec<Rule> {
        let bound = in_set(vec![Field::SourceAddress], SetId::BoundIps);
        let mark = self.rule([bound, self.set_mark()]).comment("no address for elsewhere");
        let refuse = [self.unserved(), self.unserved_node_ports()].into_iter().chain(self.shield());
        [mark].into_iter().chain(self.source_filter()).chain(refuse).chain(further).collect()
    }

    /// What a virtual server translates is translated by no other rule, ours or foreign. Addresses that this node has taken
    /// on are its own to the kernel, so rules for ports of the host, such as those of container networks, would match them.
    pub(super) fn left_to_servers(&self, place: Place, list: List) -> Option<Rule> {
        let set = match place {
            Place::Service => SetId::VirtualServers,
            Place::NodePort => SetId::NodePortServers,
        };
        let is_here = self.is_beside_servers() && list == List::Main;
        is_here.then(|| self.rule([frontend_in(Place::Service, set), self.untranslated()]))
    }

    /// The same for whatever else goes to an address that this node has taken on.
    pub(super) fn nothing_else(&self) -> Option<Rule> {
        let bound = in_set(vec![Field::DestinationAddress], SetId::BoundIps);
        self.claims.then(|| self.rule([bound, Statement::KeepDestination]))
    }

    /// Ends translation without one: for good, or as far as this table goes.
    pub(super) fn untranslated(&self) -> Statement {
        if self.claims { Statement::KeepDestination } else { verdict(Verdict::Accept) }
    }

    /// Behind IPVS, which has taken what is for a virtual server: the host itself does not answer at these addresses, not even
    /// while a virtual server is missing. A connection whose real server is gone is new too by then, and must end.
    pub(super) fn behind_servers(&self) -> Option<Vec<Rule>> {
        let bound = || in_set(vec![Field::DestinationAddress], SetId::BoundIps);
        let reset = || self.rule([new(), bound(), Statement::Match(Match::Protocol(6)), Statement::Reset]);
        let drop = || self.rule([new(), bound(), verdict(Verdict::Drop)]);
        self.is_beside_servers().then(|| vec![reset(), drop()])
    }

    /// Connections of an endpoint to itself. Where translation cannot be told, the host's own connections to itself must be.
    pub(super) fn to_itself(&self) -> Vec<Rule> {
        let to_itself = in_set(hairpin_fields(), SetId::Hairpin);
        let comment = "an endpoint to itself";
        if self.is_beside_servers() {
            let own = Statement::Match(Match::Local(Field::SourceAddress));
            let masquerade = self.rule([to_itself, Statement::Masquerade]).comment(comment);
            return vec![self.rule([own, verdict(Verdict::Accept)]), masquerade];
        }
        let translated = Statement::Match(Match::DestinationTranslated);
        vec![self.rule([translated, to_itself, Statement::Masquerade]).comment(comment)]
    }

    /// What outsiders get under policy Local where there is no endpoint. Packets of others pass the filter untranslated, so that
    /// it could not tell them apart; what is refused to all is left to it.
    pub(super) fn nothing_here(&self, place: Place) -> Vec<Rule> {
        match self.translation {
            Translation::Rules => {
                let accept = self.rule([verdict(Verdict::Accept)]);
                vec![accept.comment("no endpoint here: not a NodePort either")]
            }
            Translation::VirtualServers => vec![
                self.rule([frontend_in(place, SetId::Rejected(place)), self.untranslated()]),
                self.rule([verdict(Verdict::Drop)]).comment("no endpoint here"),
            ],
        }
    }
}
