//! The server and its page: figures out of range, a port that is taken, no runtime, and what is asked of it when it is down.

use meshground::server::{Page, Server, ServerConfig, ServerError};
use meshground_tests::ws::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

fn config(change: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
    let mut config = ServerConfig { port: 0, ..ServerConfig::default() };
    change(&mut config);
    config
}

/// The first line of the answer to a request for `path`.
async fn status(server: SocketAddr, path: &str) -> String {
    let ask = async {
        let mut client = TcpStream::connect(server).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = within("an answer", ask).await.expect("the server answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_refuses_figures_out_of_range_and_ports_that_are_taken_and_lives_with_all_others() {
    let wrong = [
        (config(|config| config.max_nodes = 1_025), "max_nodes"),
        (config(|config| config.max_nodes = u32::MAX), "max_nodes"),
        (config(|config| config.keepalive = Duration::ZERO), "keepalive"),
        (config(|config| config.request_head_timeout = Duration::ZERO), "request_head_timeout"),
    ];
    for (wrong, named) in wrong {
        let error = Server::bind(wrong).await.expect_err("it is out of range");
        assert!(matches!(&error, ServerError::Config { figure, .. } if *figure == named), "{error}");
    }

    let odd = [("", "no name"), ("index.html", ""), ("no.kind", "\0"), ("/../etc", "elsewhere")];
    let huge = config(|config| {
        (config.max_clients, config.page) = (u32::MAX, Page::from_files(odd));
        (config.keepalive, config.request_head_timeout) = (Duration::MAX, Duration::MAX);
    });
    let none = config(|config| {
        (config.max_nodes, config.page) = (0, Page::from_files::<String, Vec<u8>>([]));
        (config.keepalive, config.request_head_timeout) = (Duration::from_secs(9), Duration::from_secs(9));
    });
    assert!(huge.page.is_built() && !none.page.is_built());
    assert!(!format!("{:?}", Page::embedded()).is_empty());
    for (config, page, most) in [(huge, "200", 1_025), (none, "503", 1)] {
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr();
        let again = ServerConfig { port: address.port(), ..ServerConfig::default() };
        let taken = Server::bind(again).await.expect_err("it is taken");
        assert!(matches!(taken, ServerError::PortInUse { port } if port == address.port()), "{taken}");

        let (booter, log) = (server.booter(), server.log());
        let running = server.start();
        assert!(Arc::ptr_eq(running.log(), &log) && running.local_addr() == address);
        assert!(status(address, "/").await.contains(page));
        assert!(status(address, "/no/such/thing").await.contains(if page == "200" { "404" } else { page }));
        within("a client", Client::connect(address)).await.is_alive().await;
        for nodes in [0, most, u32::MAX] {
            let refused = within("a refusal", booter.boot(nodes)).await.unwrap_err();
            assert!(!refused.data.hint.is_empty() && refused.data.name != "internal", "{refused:?}");
        }
        within("the end", running.stop()).await;
        let late = within("a refusal", booter.boot(1)).await.unwrap_err();
        assert!(!late.data.hint.is_empty() && late.data.name != "internal", "{late:?}");
        assert_eq!(log.snapshot().phase, ClusterPhase::Empty);
    }
}

#[tokio::test]
async fn a_server_for_no_clients_turns_all_away_and_one_that_is_to_stop_before_it_runs_stops() {
    let server = Server::bind(config(|config| config.max_clients = 0)).await.unwrap();
    let running = server.start();
    let away = Client::connect_with(running.local_addr(), &[]).await.expect_err("there is no room");
    assert!(!away.1.is_empty(), "{away:?}");
    within("the end", running.stop()).await;

    let server = Server::bind(config(|_| {})).await.unwrap();
    let address = server.local_addr();
    within("the end", server.run(std::future::ready(()))).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[test]
fn a_server_without_a_runtime_says_so_and_one_that_has_one_is_started_from_anywhere() {
    let without = outside(Server::bind(config(|_| {}))).expect_err("there is none");
    assert!(matches!(without, ServerError::NoRuntime), "{without}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind(config(|_| {}))).unwrap();
    let running = server.start();
    runtime.block_on(async {
        assert!(status(running.local_addr(), "/healthz").await.contains("200"));
        within("the end", running.stop()).await;
    });
}
