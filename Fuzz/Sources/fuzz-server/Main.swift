import Fuzzing

@main
enum Main {
    static func main() {
        fuzz(["requests": requests, "texts": texts, "tokens": tokens, "received": received])
    }
}
