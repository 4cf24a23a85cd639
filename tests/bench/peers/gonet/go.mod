module handclasp/tests/bench/peers/gonet

go 1.19
