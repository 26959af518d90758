package stored

// RestoreHelp is the text of the command restore, without the paragraph about ids.
const RestoreHelp = "First reads the whole export and checks it as verify does. Only then it is restored, in\n" +
	"one transaction that ends with a count of every table and is rolled back on\n" +
	"any error. Owners and rights are not restored, but routines and types that PUBLIC may not\n" +
	"use in the source are revoked from it. A schema that holds anything but extensions is\n" +
	"refused, unless --clean drops all that it holds, in the same transaction. The schema\n" +
	"itself stays with its rights, and so do extensions. If objects outside of the export's\n" +
	"schemas depend on what would be dropped, they are listed and nothing is changed.\n\n" +
	"The extensions that an export needs are not in it: --create-extensions makes those that\n" +
	"the target lacks, in the schemas that they had, as far as the server has them.\n\n" +
	"With --jobs a custom or directory archive is restored by so many connections at a time.\n" +
	"This is faster but not one transaction: an error leaves part of the export in the target,\n" +
	"so its schemas must be missing or empty. During it, and during every restore of format\n" +
	"directory, the whole dump is in SPOOL_DIR, readable by this user.\n\n" +
	"With --keep-going a statement that the database refuses is rolled back alone and listed,\n" +
	"and so are tables that then hold other rows than the export; the rest is committed, and\n" +
	"the exit code is 4. With --no-transaction each statement is executed by itself: for very\n" +
	"many tables on a server with few locks. An error leaves part of the export, and the dump\n" +
	"is in SPOOL_DIR meanwhile.\n\n" +
	"With --replace the schemas are not emptied: in the transaction of the restore they are\n" +
	"renamed to a name with the time and the restore's id. They are kept for --keep; a later\n" +
	"restore with --replace drops them. Grants on them are repeated. Until the end of the\n" +
	"restore other sessions can use them. With --table only these tables are restored, with\n" +
	"their partitions, indexes, constraints, triggers, policies and own sequences; with\n" +
	"--replace the old ones are moved aside. With --schema-as the schema is restored under\n" +
	"another name, through a throw-away server (VERIFY_SCRATCH_URL, or a temporary server on\n" +
	"this machine); functions whose text names the old schema are listed. What depends on the\n" +
	"old objects, and what cannot be restored, is listed, and nothing is changed. --plan only\n" +
	"reports what would be done. The target records --restore-id: a restore with the same id\n" +
	"is made once.\n\n" +
	"With --prepare nothing is restored: it prints an SQL script for the database's\n" +
	"administrator, with the roles and extensions that the export needs, and as comments the\n" +
	"objects of other schemas and the export's warnings.\n\n" +
	"A restore executes the statements of the dump: use a login with no more rights than it\n" +
	"needs. The URL may not hold a password: put the whole URL into PGCOURIER_RESTORE_URL or a\n" +
	"file.\n\n"
