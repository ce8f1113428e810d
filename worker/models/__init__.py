"""Models as opaque bytes: kept, served, fetched and relayed by digest. Nothing here ever loads one."""
