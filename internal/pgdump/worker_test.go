package pgdump_test

const workerVariable = "PGDUMP_TEST_WORKER"

func beWorker(string) {}
