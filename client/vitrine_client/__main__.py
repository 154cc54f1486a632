from vitrine_client.cli import main

main()
