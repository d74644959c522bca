//! Conversations: TCP connections that stay open, and the servers that hold them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kubeweir_playground::Namespace;

/// A question that the server answers by saying no more, although the client might.
const GOODBYE: &str = "goodbye";
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers each line of each connection with its name. Ends with its namespace's last connection.
pub(crate) struct LineServer {
    _listener: TcpListener,
}

impl LineServer {
    pub(crate) fn start(place: &Namespace, name: &str, at: SocketAddr) -> LineServer {
        let listener = place.run(|| TcpListener::bind(at)).unwrap().unwrap();
        let (accepting, name) = (listener.try_clone().unwrap(), name.to_owned());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let name = name.clone();
                std::thread::spawn(move || converse(&name, stream));
            }
        });
        LineServer { _listener: listener }
    }
}

fn converse(name: &str, mut stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        match line?.as_str() {
            GOODBYE => stream.shutdown(Shutdown::Write)?,
            _ => writeln!(stream, "{name}")?,
        }
    }
    Ok(())
}

/// A connection that stays open.
pub(crate) struct Conversation {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Conversation {
    pub(crate) fn open(client: &Namespace, to: &str) -> Conversation {
        let to: SocketAddr = to.parse().unwrap();
        let stream = client.run(|| kubeweir_playground::connect(to, PATIENCE)).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Conversation { answers: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Who is at the other end. An error if the connection is no more.
    pub(crate) fn ask(&mut self) -> io::Result<String> {
        writeln!(self.stream, "who?")?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().to_owned()),
        }
    }

    #[track_caller]
    pub(crate) fn partner(&mut self) -> String {
        self.ask().unwrap_or_else(|error| panic!("the connection is no more: {error}"))
    }

    /// Has the server end the connection; the client still could speak.
    pub(crate) fn end(&mut self) {
        writeln!(self.stream, "{GOODBYE}").unwrap();
        let mut rest = String::new();
        assert_eq!(self.answers.read_line(&mut rest).unwrap(), 0, "{rest}");
    }
}
